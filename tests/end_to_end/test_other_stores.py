"""A service passes through stores that are not ours: real nodes of them, real Avahi on both links."""

import sys

import pytest

from tests.end_to_end.sites import LIMIT_S, PATIENCE_S, TwoSites, bridge, names, two_sites, wait_line
from tools.netlab import Host, wait_until

pytestmark = pytest.mark.lab
OPENDHT_PORT, PROXY_PORT = 4222, 8080
MUSIC = "Tom's Music"
POLL_S = 1.0
"Seconds between two looks at a store that does not push; what is missing twice is gone."


def run_opendht(sites: TwoSites, host: Host) -> None:
    """Start a node with a proxy; the first one is at a."""
    entry = "" if host is sites.a else f"-b {sites.a.ipv4}:{OPENDHT_PORT}"
    # It takes commands from its standard input, and ends with it.
    host.popen("sh", "-c", f"sleep 600 | dhtnode -p {OPENDHT_PORT} --proxyserver {PROXY_PORT} {entry}")


def good_nodes(host: Host) -> bool:
    done = host.run(
        "python3",
        "-c",
        "import json, urllib.request as u; "
        f"print(json.load(u.urlopen('http://127.0.0.1:{PROXY_PORT}/node/info', timeout=2))['ipv4']['good'])",
        check=False,
    )
    return done.stdout.strip() not in {"", "0"}


def test_a_service_passes_through_opendht_and_goes_when_it_is_withdrawn_or_its_exporter_ends() -> None:
    with two_sites() as sites:
        for host in (sites.a, sites.b):
            run_opendht(sites, host)
        for host in (sites.a, sites.b):
            wait_until(lambda: good_nodes(host), PATIENCE_S, "a network of two")  # noqa: B023
        importer = bridge(sites.b, "--import:opendht", "--key", "office")
        exporter = bridge(sites.a, "--export:opendht", "_daap._tcp", "--key", "office")
        watch = sites.avahi_b.watch("_daap._tcp")
        music = sites.avahi_a.publish(MUSIC, "_daap._tcp", 3689, ["txtvers=1"])
        print(f"visible after {watch.wait_for(names(MUSIC), LIMIT_S):.2f} s")
        music.withdraw()
        print(f"gone after {watch.wait_for(names(), LIMIT_S):.2f} s")
        sites.avahi_a.publish(MUSIC, "_daap._tcp", 3689, ["txtvers=2"])
        watch.wait_for(names(MUSIC), PATIENCE_S)
        assert exporter.stop() == 0
        watch.wait_for(names(), LIMIT_S)
        assert importer.stop() == 0


def test_without_a_proxy_both_sides_say_what_to_start() -> None:
    with two_sites() as sites:
        importer = bridge(sites.b, "--import:opendht", "--key", "office")
        wait_until(
            lambda: "no OpenDHT proxy answers at http://127.0.0.1:8080" in importer.log, PATIENCE_S, "a word of it"
        )
        assert "dhtnode --proxyserver" in importer.log
        exporter = bridge(sites.a, "--export:opendht", "_daap._tcp", "--key", "office")
        sites.avahi_a.publish(MUSIC, "_daap._tcp", 3689)
        wait_until(lambda: "failed Tom's Music" in exporter.log, PATIENCE_S, "a word of it", lambda: exporter.log)
        assert importer.stop() == 0


PLAIN_NODE = """
import asyncio, sys
from kademlia.network import Server

async def main():
    server = Server()
    await server.listen(8468)
    await server.bootstrap([(sys.argv[1], 8468)])
    print("plain node is in", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_a_service_passes_through_a_network_of_the_kademlia_package_with_a_plain_node_in_it() -> None:
    with two_sites() as sites:
        exporter = bridge(sites.a, "--export:kademlia", "_daap._tcp", "--key", "office", "--refresh", "5")
        plain = sites.router.popen(sys.executable, "-c", PLAIN_NODE, str(sites.a.ipv4))
        wait_line(plain, "plain node is in")
        entry = f"{sites.a.ipv4}:8468"
        importer = bridge(sites.b, "--import:kademlia", "--key", "office", "--poll", "1", "--bootstrap", entry)
        watch = sites.avahi_b.watch("_daap._tcp")
        music = sites.avahi_a.publish(MUSIC, "_daap._tcp", 3689, ["txtvers=1"])
        print(f"visible after {watch.wait_for(names(MUSIC), LIMIT_S + POLL_S):.2f} s")
        music.withdraw()
        print(f"gone after {watch.wait_for(names(), LIMIT_S + POLL_S):.2f} s")
        sites.avahi_a.publish(MUSIC, "_daap._tcp", 3689, ["txtvers=2"])
        watch.wait_for(names(MUSIC), PATIENCE_S)
        assert exporter.stop() == 0
        watch.wait_for(names(), PATIENCE_S)  # its node has gone too, and is waited for in the next searches
        assert importer.stop() == 0
