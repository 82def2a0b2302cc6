"""A link whose switches filter multicast: unicast copies take its place, and give it back."""

import time
from collections.abc import Iterator

import pytest

from tests.end_to_end.members import DETECTION_S, SLACK_S, Member, join, wait_ready, wait_state
from tests.end_to_end.sites import PATIENCE_S, command, laboratory, mdht_status
from tools.netlab import Lab, Subnet, wait_until

pytestmark = pytest.mark.lab
HOSTS = 5
EMULATED_S = 15.0
"Wanted by the design, experiment 14."
BACK_S = 30.0
"Ten seconds of multicast, a heartbeat, and time for a machine that does other things too."


@pytest.fixture
def link() -> Iterator[tuple[Lab, Subnet]]:
    with laboratory() as lab:
        yield lab, lab.subnet("here", "198.51.100.0/24", "2001:db8:1::/64")


def modes(members: list[Member]) -> list[tuple[str, int]]:
    """What each has said last of the way to the others; the first one needs no word."""
    told = [[line for line in member.lines if line["event"] == "link_mode"] for member in members]
    return [(lines[-1]["mode"], lines[-1]["emulated"]) if lines else ("multicast", 0) for lines in told]


def wait_modes(members: list[Member], wanted: list[tuple[str, int]], limit_s: float) -> float:
    """Wait until they say this; how long it took."""
    started = time.monotonic()
    wait_until(lambda: modes(members) == wanted, limit_s, f"modes {wanted}", lambda: f"{modes(members)}")
    return time.monotonic() - started


def logs(members: list[Member]) -> str:
    return "\n".join(member.process.log for member in members)


def test_a_host_whose_multicast_is_filtered_stays_a_member_and_multicast_is_taken_up_again(
    link: tuple[Lab, Subnet],
) -> None:
    lab, here = link
    hosts = [lab.host(f"h{number}", here) for number in range(HOSTS)]
    members = join(*hosts)
    wait_ready(members)
    *others, victim = members
    here.filter_multicast(victim.host, to_host=True, from_host=True)
    filtered = [*[("partly emulated", 1)] * (HOSTS - 1), ("emulated", HOSTS - 1)]
    print(f"emulated after {wait_modes(members, filtered, EMULATED_S):.1f} s")
    wait_ready(members)
    assert "suspect" not in logs(members)
    assert "dead" not in logs(members)
    # Both directions of the store.
    assert command(victim.host, "mdht", "put", "office", "from behind the filter").returncode == 0
    assert "from behind the filter" in command(hosts[0], "mdht", "get", "office").stdout
    assert command(hosts[1], "mdht", "put", "home", "from before it").returncode == 0
    assert "from before it" in command(victim.host, "mdht", "get", "home").stdout
    found = mdht_status(victim.host)
    assert (found["link_mode"], found["emulated"], found["without_copies"]) == ("emulated", HOSTS - 1, 0)
    text = command(hosts[0], "mdht", "status").stdout
    assert f"partly emulated, by unicast copies with 1 of {HOSTS - 1} members" in text
    metrics = command(hosts[0], "mdht", "status", "--prometheus").stdout
    assert 'mode="partly emulated"} 1' in metrics
    assert "multicast does not pass with 4 of 4 other hosts (4 are not heard, " in victim.process.log
    # A crash is noticed as ever, and whoever comes back finds the others from what is on its disk.
    killed = time.time()
    victim.process.kill()
    noticed = wait_state(others, victim.hid, "dead")
    print(f"a crash was known to all after {noticed - killed:.1f} s")
    assert noticed - killed <= DETECTION_S + SLACK_S
    again = join(victim.host)
    started = time.monotonic()
    wait_ready([*others, *again])
    print(f"back after {time.monotonic() - started:.1f} s")
    assert again[0].subnets[-1] == others[0].subnets[-1]
    here.filter_multicast(victim.host, to_host=False, from_host=False)
    print(f"multicast again after {wait_modes([*others, *again], [('multicast', 0)] * HOSTS, BACK_S):.1f} s")
    assert mdht_status(victim.host)["link_mode"] == "multicast"


@pytest.mark.parametrize("way", ["to_host", "from_host"])
def test_one_direction_may_be_filtered_alone(link: tuple[Lab, Subnet], way: str) -> None:
    lab, here = link
    hosts = [lab.host(f"h{number}", here) for number in range(3)]
    members = join(*hosts)
    wait_ready(members)
    here.filter_multicast(hosts[2], to_host=way == "to_host", from_host=way == "from_host")
    wait_modes(members, [("partly emulated", 1)] * 2 + [("emulated", 2)], EMULATED_S)
    wait_ready(members)
    assert "dead" not in logs(members)
    assert command(hosts[2], "mdht", "put", "office", "still here").returncode == 0
    assert "still here" in command(hosts[0], "mdht", "get", "office").stdout


def test_a_link_without_any_multicast_is_one_subnet_when_hosts_know_one(link: tuple[Lab, Subnet]) -> None:
    lab, here = link
    hosts = [lab.host(f"h{number}", here) for number in range(3)]
    for host in hosts:
        here.filter_multicast(host, to_host=True, from_host=True)
    members = join(hosts[0])
    started = time.monotonic()
    for host in hosts[1:]:
        members += join(host, arguments=["--peer", hosts[0].ipv4])
    wait_ready(members)
    print(f"one subnet after {time.monotonic() - started:.1f} s")
    assert time.monotonic() - started <= EMULATED_S
    assert len({member.subnets[-1] for member in members}) == 1
    told = ["link_mode", "emulated"]
    wait_until(  # told at the first heartbeat after both have come
        lambda: all([mdht_status(host)[name] for name in told] == ["emulated", 2] for host in hosts),
        EMULATED_S,
        "emulation",
    )
    assert command(hosts[1], "mdht", "put", "office", "by unicast").returncode == 0
    assert "by unicast" in command(hosts[2], "mdht", "get", "office").stdout
    *others, victim = members
    killed = time.time()
    victim.process.kill()
    assert wait_state(others, victim.hid, "dead") - killed <= DETECTION_S + SLACK_S


def test_a_peer_elsewhere_is_told_and_nobody_is_asked(link: tuple[Lab, Subnet]) -> None:
    lab, here = link
    (member,) = join(lab.host("h0", here), arguments=["--peer", "203.0.113.7"])
    wait_until(
        lambda: "peer 203.0.113.7:27183 is no address of the link" in member.process.log, PATIENCE_S, "word of it"
    )
    assert "off_link_to" not in member.counters()
