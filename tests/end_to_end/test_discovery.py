"""Six NetServ nodes with different blocks in three subnets, found on the link, in the DHT, along the path and by z2z.

asker - N3 - | N1 | - N4, and two that come and go - | N2 | - N5, N6, user
"""

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.sites import (
    PATIENCE_S,
    bridge,
    command,
    instances,
    json_lines,
    laboratory,
    lacks,
    run_mdht,
    shows,
)
from tools.netlab import Avahi, Host, Lab, Process, wait_until
from tools.netlab_chain import chain

pytestmark = pytest.mark.lab

TYPE = "_netserv._udp"
LEASE_S = 10
ON_LINK_S = 2.0
ELSEWHERE_S = 5.0
AT_ONCE_S = 2.0
"For goodbyes and removals to be seen."
NODES = {
    "n1": ("--block", "ffmpeg=5.1", "--block", "geoip=1.0", "--location", "40.73,-74.00"),
    "n2": ("--block", "ffmpeg=6.0", "--location", "48.86,2.35"),
    "n3": ("--block", "geoip=2.0", "--location", "40.80,-73.95"),
    "n4": ("--block", "ffmpeg=4.4", "--location", "40.65,-73.94"),
    "n5": ("--block", "http=1.0", "--location", "52.52,13.40", "--sites", "office", "--operator", "Example Net"),
    "n6": (
        *("--block", "ffmpeg=5.0", "--module", "NetServ.apps.MediaRelay_1.2.0", "--location", "42.36,-71.06"),
        *("--sites", "vault", "--secret-file", "secret.txt"),
    ),
}
PHRASE = "correct horse battery"
NEW_YORK = ("--near", "40.71,-74.01")


@dataclass(frozen=True)
class World:
    """All hosts by their names; the asker has a node of the DHT, routers have signalling."""

    lab: Lab
    hosts: dict[str, Host]
    avahi: dict[str, Avahi]
    nodes: dict[str, Process]

    @property
    def asker(self) -> Host:
        return self.hosts["asker"]

    def find(self, *arguments: str, on: str = "asker") -> list[dict[str, Any]]:
        done = command(self.hosts[on], "netserv-discovery", "find", "--json", *arguments)
        assert done.returncode == 0, done
        return json_lines(done.stdout)


def advertise(host: Host, entry: str, *arguments: str) -> Process:
    words = ("--node-id", host.name, "--bootstrap", entry, "--allow-private", "--json", *arguments)
    return host.popen(host.program("netserv-discovery"), "advertise", *words)


def settled(process: Process) -> Process:
    process.wait_for('"event":"stored"', 30.0)
    return process


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with laboratory() as lab:
        asker, n1, n2, user = chain(lab, "asker", "n1", "n2", "user")
        hosts = {host.name: host for host in (asker, n1, n2, user)}
        for name, link in (("n3", 1), ("n4", 2), ("stopped", 2), ("killed", 2), ("n5", 3), ("n6", 3)):
            hosts[name] = lab.host(name, lab.subnets[f"link{link}"])
        with_avahi = ["asker", *NODES]
        avahi = dict(zip(with_avahi, lab.start_avahi(*(hosts[name] for name in with_avahi)), strict=True))
        for router in (n1, n2):
            words = ("signal", "daemon", "--public-probes", "--node-id", router.name)
            router.popen(router.program("netserv"), *words).wait_for("is ready")
        run_mdht(asker, "--allow-private")
        for name, phrase in (("n6", PHRASE), ("n3", PHRASE), ("n4", "another phrase")):
            path = hosts[name].directory / "secret.txt"
            path.touch(mode=0o600)
            path.write_text(f"{phrase}\n")
        nodes = {name: advertise(hosts[name], asker.ipv4, *words) for name, words in NODES.items()}
        yield World(lab, hosts, avahi, {name: settled(process) for name, process in nodes.items()})


def names(found: list[dict[str, Any]]) -> list[str]:
    return [each["node_id"] for each in found]


def test_each_way_finds_exactly_the_right_nodes(world: World) -> None:
    user = world.hosts["user"].ipv4
    wanted: dict[tuple[str, ...], list[str]] = {
        ("--block", "ffmpeg>=5", *NEW_YORK): ["n1", "n6", "n2"],
        ("--block", "ffmpeg", *NEW_YORK, "--radius", "1000"): ["n1", "n4", "n6"],
        ("--module", "NetServ.apps.MediaRelay>=1,<2"): ["n6"],
        ("--link",): ["n1", "n3"],
        ("--toward", user): ["n1", "n2"],
    }
    with ThreadPoolExecutor(3) as pool:
        found = dict(zip(wanted, pool.map(lambda words: world.find(*words), wanted), strict=True))
    found["--link",].sort(key=lambda node: node["node_id"])
    assert {words: names(nodes) for words, nodes in found.items()} == wanted
    for words, nodes in found.items():
        records = [node["record"] if "--toward" in words else node for node in nodes]
        assert all(record["trust"] == "confirmed" and record["reasons"] for record in records)


def test_plain_browsers_see_the_nodes_of_their_link_and_who_has_a_block(world: World) -> None:
    assert instances(world.avahi["n3"].browse(TYPE)) == {"n1", "n3"}
    assert instances(world.avahi["n6"].browse(f"_ffmpeg._sub.{TYPE}")) == {"n2", "n6"}
    (service, *_) = world.avahi["n6"].browse(f"_http._sub.{TYPE}")
    assert {b"id=n5", b"blocks=http-1.0", b"op=Example Net"} <= set(service.txt_strings)
    assert (service.port, service.address) == (270, world.hosts["n5"].ipv4)


def test_false_records_under_a_key_take_no_place_of_those_that_are_right(world: World) -> None:
    ping = json_lines(world.nodes["n3"].log)[0]["ping_port"]
    where = f"{world.hosts['n3'].ipv4}:{ping}"
    tests = {"PYTHONPATH": str(Path(__file__).parents[2])}
    world.asker.run(sys.executable, "-m", "tests.end_to_end.false_records", "ffmpeg", "40.71,-74.01", where, env=tests)
    found = world.find("--block", "ffmpeg", *NEW_YORK, "--limit", "6")
    assert names(found)[:4] == ["n1", "n4", "n6", "n2"]
    assert {(node["node_id"], node["trust"]) for node in found[4:]} == {("silent", "silent"), ("other", "wrong_key")}


def told(process: Process, kind: str, name: str) -> bool:
    """Whether a watch has said that a node is found, or lost."""
    return any(line["change"] == kind and line["node_id"] == name for line in json_lines(process.log))


def is_ready(process: Process) -> bool:
    return '"event":"advertised"' in process.log


def seconds_until(look: Callable[[], object], process: Process, limit_s: float, since: float) -> float:
    wait_until(look, limit_s + PATIENCE_S, "that", lambda: f":\n{process.log}")
    return time.monotonic() - since


def test_a_node_comes_and_goes_everywhere_in_time(world: World) -> None:
    asker, entry = world.asker, world.asker.ipv4
    # An ordinary z2z carries what is on the link; the nodes that are to come know nothing of it.
    bridge(world.hosts["n4"], "--export", TYPE, "--key", "plain", "--allow-private", "--bootstrap", entry)
    bridge(asker, "--import", "--key", "plain", "--key", "office", "--bootstrap", entry)
    subtype = f"_late._sub.{TYPE}"
    link, site = world.avahi["n4"].watch(subtype), world.avahi["asker"].watch(subtype)
    watch = asker.popen(asker.program("netserv-discovery"), "find", "--block", "late", "--watch", "--json", "-v")
    watch.wait_for("keys in")
    begun, late = time.monotonic(), {}
    for name in ("stopped", "killed"):
        late[name] = advertise(world.hosts[name], entry, "--block", "late=1.0", "--lease", str(LEASE_S))
    ready = {name: seconds_until(partial(is_ready, each), each, 0, begun) for name, each in late.items()}
    came = {
        way: {name: seconds_until(partial(shown, name), watch, ELSEWHERE_S, begun + ready[name]) for name in late}
        for way, shown in {
            "link": lambda name: shows(name)(link.services()),
            "DHT": lambda name: told(watch, "found", name),
            "z2z": lambda name: shows(name)(site.services()),
        }.items()
    }
    print(f"ready {ready}; then {came}")
    assert max(came["link"].values()) <= ON_LINK_S
    assert max(*came["DHT"].values(), *came["z2z"].values()) <= ELSEWHERE_S
    begun = time.monotonic()
    late["killed"].kill()
    late["stopped"].terminate()
    for name, limit_s in (("stopped", AT_ONCE_S), ("killed", LEASE_S + AT_ONCE_S)):
        gone = {
            way: seconds_until(partial(lost, name), watch, limit_s, begun)
            for way, lost in {
                "DHT": lambda name: told(watch, "lost", name),
                "link": lambda name: lacks(name)(link.services()),
                "z2z": lambda name: lacks(name)(site.services()),
            }.items()
        }
        print(f"{name}: gone after {gone}")
        assert max(gone.values()) <= limit_s
    assert late["stopped"].wait(PATIENCE_S) == 0
    shown_by_z2z(world)


def shown_by_z2z(world: World) -> None:
    """Who has chosen sites is on their links with all that it says, and can be asked from there."""
    browser = world.avahi["n3"].watch(f"_http._sub.{TYPE}")
    browser.wait_for(shows("n5"), PATIENCE_S)
    (service, *_) = browser.services()
    assert {b"id=n5", b"blocks=http-1.0"} <= set(service.txt_strings)
    assert service.address == world.hosts["n5"].ipv4
    (found,) = world.find("--link", "--block", "http", on="n3")
    assert (found["node_id"], found["trust"]) == ("n5", "confirmed")


def test_sites_that_share_a_secret_and_nobody_else_see_a_node(world: World) -> None:
    n3, n4, entry = world.hosts["n3"], world.hosts["n4"], ("--bootstrap", world.asker.ipv4, "--allow-private")
    secret = ("--secret-file", "secret.txt")
    bridge(n3, "--import", "--key", "vault", *secret, *entry)
    bridge(n4, "--import", "--key", "vault", *secret, *entry)  # with another phrase
    bridge(n4, "--import", "--key", "vault", *entry)
    browser = world.avahi["n3"].watch(f"_ffmpeg._sub.{TYPE}")
    browser.wait_for(shows("n6"), PATIENCE_S)
    service, *_ = [each for each in browser.services() if each.instance == "n6"]
    assert {b"id=n6", b"blocks=ffmpeg-5.0"} <= set(service.txt_strings)
    sites = ("find", "--sites", "vault", "--json", *entry)
    found = json_lines(command(n3, "netserv-discovery", *sites, *secret).stdout)
    assert [(node["node_id"], node["trust"]) for node in found] == [("n6", "confirmed")]
    for host, words in ((n4, secret), (n3, ())):
        refused = command(host, "netserv-discovery", *sites, *words)
        assert (refused.returncode, refused.stdout) == (1, "")
    assert instances(world.avahi["n4"].browse(f"_ffmpeg._sub.{TYPE}")) == {"n1", "n2", "n4"}
    assert names(world.find("--sites", "office")) == ["n5"]


def test_a_bundle_is_published_located_and_fetched(world: World) -> None:
    n6, asker, module = world.hosts["n6"], world.asker, "NetServ.apps.Demo"
    bundle = bytes(range(256)) * 100
    (n6.directory / "demo.zip").write_bytes(bundle)
    n6.popen(sys.executable, "-m", "http.server", "8080")
    alice = command(asker, "netserv", "key", "new", "alice.pem", "--user", "alice").stdout
    (asker.directory / "publishers.toml").write_text(alice)
    (asker.directory / "demo.zip").write_bytes(bundle)
    url = f"http://{n6.ipv4}:8080/demo.zip"
    words = ("publish", "demo.zip", "--module", f"{module}_1.1", "--url", url, "--key", "alice.pem")
    assert command(asker, "netserv-discovery", *words).returncode == 0
    believed = (f"{module}>=1", "--publishers", "publishers.toml")
    (located,) = json_lines(command(asker, "netserv-discovery", "locate", *believed, "--json").stdout)
    assert (located["version"], located["publisher"], located["urls"]) == ("1.1", "alice", [url])
    refused = command(asker, "netserv-discovery", "fetch", *believed)
    assert "the policy allows https only" in refused.stderr
    done = command(asker, "netserv-discovery", "fetch", *believed, "--http", "--host", n6.ipv4)
    assert done.returncode == 0, done
    assert (asker.directory / f"{module}_1.1.zip").read_bytes() == bundle
