"""A host that is on several links is one of each link's subnet, and carries records between them by the overlay."""

import pytest

from tests.end_to_end.members import Member, join, wait_state
from tests.end_to_end.sites import PATIENCE_S, command, laboratory, mdht_status
from tools.netlab import Host, wait_until

pytestmark = pytest.mark.lab
JOINED_S = 45.0
"Two lone subnets that find each other later than at once ask again after up to half a minute."


def hids(member: Member) -> dict[str, str]:
    """The names that a host has on its links."""
    return {line["link"]: line["hid"] for line in member.lines if line["event"] == "joins"}


def interfaces(host: Host) -> list[str]:
    return [word for name in host.interfaces for word in ("--interface", name)]


def test_a_router_of_two_links_is_a_host_of_both_subnets_and_joins_them_to_one_overlay() -> None:
    with laboratory() as lab:
        north = lab.subnet("north", "198.51.100.0/24", "2001:db8:1::/64")
        south = lab.subnet("south", "203.0.113.0/24", "2001:db8:2::/64")
        hosts = [lab.host("n", north), lab.host("s", south)]
        router = lab.router("r", north, south)
        (both,) = join(router, arguments=interfaces(router))
        n, s = join(*hosts)  # nobody names anybody
        names = hids(both)
        (to_north, to_south) = router.interfaces
        wait_state([n], names[to_north], "ready")
        wait_state([s], names[to_south], "ready")
        assert names[to_south] not in n.states
        assert names[to_north] not in s.states
        wait_until(
            lambda: all(mdht_status(host)["contacts"] == 1 for host in hosts),
            JOINED_S,
            "one overlay of two nodes",
            lambda: "\n".join(member.process.log for member in (both, n, s)),
        )
        assert command(n.host, "mdht", "put", "office", "from the north").returncode == 0
        assert command(s.host, "mdht", "get", "office").stdout == "from the north\n"
        assert command(router, "mdht", "get", "office").stdout == "from the north\n"
        # What it says of itself.
        found = mdht_status(router)
        (other,) = found["others"]
        assert [found["interfaces"], other["interfaces"]] == [[to_north], [to_south]]
        assert [found["subnet"], other["subnet"]] == [mdht_status(host)["subnet"] for host in hosts]
        assert found["subnet"] != other["subnet"]
        assert [len(each["members"]) for each in (found, other)] == [1, 1]
        samples = command(router, "mdht", "status", "--prometheus").stdout
        assert sum(line.startswith("mdht_members{") and line.endswith(" 1") for line in samples.splitlines()) == 2
        text = command(router, "mdht", "status").stdout
        assert [line.split()[1] for line in text.splitlines() if line.startswith("link:")] == [to_north, to_south]
        # Killed, it is the same host on both links again; ended, it says goodbye on both.
        both.process.kill()
        (back,) = join(router, arguments=interfaces(router))
        assert hids(back) == names
        wait_state([n], names[to_north], "ready")
        wait_state([s], names[to_south], "ready")
        assert back.process.stop() == 0
        wait_state([n], names[to_north], "left")
        wait_state([s], names[to_south], "left")


def test_two_interfaces_of_one_link_are_one_host_that_is_there_until_both_are_down() -> None:
    with laboratory() as lab:
        here = lab.subnet("here", "198.51.100.0/24", "2001:db8:1::/64")
        (other,) = join(lab.host("a", here))
        host = lab.host("b", here, here)
        (twice,) = join(host, arguments=interfaces(host))
        assert len([line for line in twice.lines if line["event"] == "joins"]) == 1
        wait_state([other], twice.hid, "ready")
        first, second = host.interfaces
        wait_until(lambda: len(mdht_status(host)["addresses"]) == 4, PATIENCE_S, "addresses of both interfaces")
        lab.ip(f"link set {first} down", host.namespace)
        wait_until(lambda: mdht_status(host)["interfaces"] == [second], PATIENCE_S, "one interface")
        assert command(host, "mdht", "put", "office", "by the other way").returncode == 0
        assert command(other.host, "mdht", "get", "office").stdout == "by the other way\n"
        assert other.states[twice.hid] == "ready"
        assert "dead" not in other.process.log


def test_a_name_for_two_subnets_is_refused() -> None:
    with laboratory() as lab:
        north, south = lab.subnet("north"), lab.subnet("south", "203.0.113.0/24")
        router = lab.router("r", north, south)
        done = command(router, "mdht", "run", "--subnet", "lab", *interfaces(router))
        assert done.returncode == 1
        assert done.stderr.startswith("mdht: 'lab' can be the name of one subnet, and these are several links: ")
        assert done.stderr.count("\n") == 1
