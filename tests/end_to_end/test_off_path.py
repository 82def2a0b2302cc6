"""Off-path requests on real nodes: exactly those within so many IP hops answer.

               beside
                 |
sender - near ---+--- plain - middle - far - receiver
"""

from collections.abc import Iterator

import pytest

from tests.end_to_end.sites import command, json_lines, laboratory
from tools.netlab import Host
from tools.netlab_chain import chain

pytestmark = pytest.mark.lab

SIGNED = ("--key", "alice.pem", "--user", "alice")


def daemon(host: Host, *neighbours: str) -> None:
    words = ["signal", "daemon", "--node-id", host.name, "--publishers", "publishers.toml"]
    for neighbour in neighbours:
        words += ["--neighbour", neighbour]
    host.popen(host.program("netserv"), *words).wait_for("is ready")


@pytest.fixture(scope="module")
def town() -> Iterator[tuple[Host, Host]]:
    """Sender and receiver; daemons on the four nodes."""
    with laboratory() as lab:
        sender, near, _plain, middle, far, receiver = chain(lab, "sender", "near", "plain", "middle", "far", "receiver")
        beside = lab.host("beside", lab.subnets["link2"])
        (towards_it,) = (str(address.ip) for address in near.addresses["eth1"] if address.version == 4)
        lab.ip(f"route replace 10.0.0.0/8 via {towards_it}", beside.namespace)
        alice = command(sender, "netserv", "key", "new", "alice.pem", "--user", "alice").stdout
        for host in (near, middle, far, beside):
            (host.directory / "publishers.toml").write_text(alice)
        daemon(near, beside.ipv4)
        for host in (middle, far, beside):
            daemon(host)
        # A request along the path: from then on the nodes on it know each other.
        assert asked(sender, receiver) == ["near", "middle", "far"]
        yield sender, receiver


def asked(sender: Host, receiver: Host, *arguments: str) -> list[str]:
    done = command(sender, "netserv", "probe", "--toward", receiver.ipv4, "--json", *SIGNED, *arguments)
    assert done.returncode == 0, done
    (reply,) = json_lines(done.stdout)
    assert {node["code"] for node in reply["nodes"]} <= {200}
    return [node["node_id"] for node in reply["nodes"]]


@pytest.mark.parametrize(
    ("radius", "within"),
    [
        ("1", {"near"}),
        ("2", {"near", "beside"}),
        ("3", {"near", "beside", "middle"}),
        ("4", {"near", "beside", "middle", "far"}),
    ],
)
def test_a_bubble_reaches_exactly_the_nodes_within_so_many_hops(
    town: tuple[Host, Host], radius: str, within: set[str]
) -> None:
    found = asked(*town, "--bubble", radius)
    assert (set(found), len(found)) == (within, len(within))


def test_a_balloon_is_around_the_receiver(town: tuple[Host, Host]) -> None:
    assert set(asked(*town, "--balloon", "2")) == {"far", "middle"}


def test_a_hose_is_around_the_path(town: tuple[Host, Host]) -> None:
    found = asked(*town, "--hose", "1")
    assert sorted(found) == ["beside", "far", "middle", "near"]
