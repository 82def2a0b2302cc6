"""Rules of an administrator, and addresses that a router translates; real Avahi on all links."""

import signal
import sys
from collections.abc import Iterator

import pytest

from tests.end_to_end.sites import (
    PATIENCE_S,
    TwoSites,
    bridge,
    command,
    json_lines,
    laboratory,
    names,
    two_sites,
    wait_line,
)
from tools.netlab import Host, Process, wait_until

pytestmark = pytest.mark.lab
MUSIC, PRINTER = "_daap._tcp", "_ipp._tcp"
DENY_PRINTERS = f"""
[[rule]]
direction = "export"
action = "deny"
type = "{PRINTER}"
reason = "they cost paper"
"""
DENY_MUSIC = DENY_PRINTERS.replace(PRINTER, MUSIC).replace("they cost paper", "it is loud")
NO_GUESTS = """
[[rule]]
direction = "import"
action = "deny"
name = "guest*"
"""
GREETING = """
import socket
with socket.create_server(("", 3689)) as server:
    while True:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"music from behind the router")
"""
CALL = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as connection:
    print(connection.recv(100).decode())
"""


@pytest.fixture(scope="module")
def sites() -> Iterator[TwoSites]:
    with two_sites() as sites:
        yield sites


def wait_names(sites: TwoSites, service_type: str, *wanted: str) -> None:
    wait_until(lambda: names(*wanted)(sites.avahi_b.browse(service_type)), PATIENCE_S, f"{wanted} on b")


def change(process: Process, host: Host, text: str) -> None:
    """Write a policy and have it read."""
    (host.directory / "rules.toml").write_text(text)
    process.send_signal(signal.SIGHUP)


def test_a_policy_decides_and_a_changed_one_is_obeyed_when_it_is_sound(sites: TwoSites) -> None:
    for host, text in ((sites.a, DENY_PRINTERS), (sites.b, NO_GUESTS)):
        (host.directory / "rules.toml").write_text(text)
    sites.avahi_a.publish("Tom's Music", MUSIC, 3689)
    sites.avahi_a.publish("Guest music", MUSIC, 3690)
    sites.avahi_a.publish("Printer", PRINTER, 631)
    export = ("--export", MUSIC, "--export", PRINTER, "--key", "office", "--policy", "rules.toml")
    exporter = bridge(sites.a, *export)
    tried = sites.a.z2z(*export, "--dry-run")  # second, as the first has the port that b knows
    importer = bridge(sites.b, "--import", "--key", "office", "--policy", "rules.toml", "--bootstrap", sites.entry)
    wait_names(sites, MUSIC, "Tom's Music")
    wait_line(exporter, "skipped Printer", "policy rule 1 denies it: they cost paper")
    assert tried.wait(PATIENCE_S) == 0
    for words in (
        "dry run: skipped Printer (_ipp._tcp)",
        "policy rule 1 denies it: they cost paper",
        "everybody who imports office would see it; no rule of the policy matches, and its default allows it",
    ):
        assert words in tried.log
    wait_line(importer, "refused Guest music", "policy rule 1 denies it")
    rows = json_lines(command(sites.b, "z2z", "status", "--json").stdout)
    assert ("refused", "policy rule 1 denies it") in [(row.get("state"), row.get("reason")) for row in rows]
    assert rows[0]["policy"].startswith("1 rule of ")

    change(exporter, sites.a, DENY_MUSIC + "[[rule]]\n")
    wait_line(exporter, "policy rules.toml: rule 2: no action", "going on with the policy so far")
    assert "as it is now it is not used" in command(sites.a, "z2z", "status").stdout
    assert (names("Tom's Music")(sites.avahi_b.browse(MUSIC)), sites.avahi_b.browse(PRINTER)) == (True, [])

    change(exporter, sites.a, DENY_MUSIC)
    wait_names(sites, PRINTER, "Printer")
    wait_names(sites, MUSIC)
    assert "policy rule 1 denies it: it is loud" in wait_line(exporter, "withdrawn Tom's Music")
    change(importer, sites.b, 'default = "allow"\n')
    change(exporter, sites.a, 'default = "allow"\n')
    wait_names(sites, MUSIC, "Tom's Music", "Guest music")
    assert exporter.log.count("skipped Printer") == 1


def test_a_service_behind_a_router_is_seen_and_reached_where_the_router_forwards_it() -> None:
    with laboratory() as lab:
        street, far = lab.subnet("street", "11.0.3.0/24"), lab.subnet("far", "11.0.1.0/24")
        home = lab.subnet("home", "192.168.1.0/24")
        h, b = lab.host("h", home), lab.host("b", far)
        lab.router("r", street, far)
        nat = lab.nat("nat", street, home)
        inside, outside = lab.start_avahi(h, b)
        inside.publish("Tom's Music", MUSIC, 3689, ["txtvers=1"])
        inside.publish("Hidden", MUSIC, 3690)
        h.popen(sys.executable, "-c", GREETING)
        bridge(b, "--import", "--key", "home")
        mapping = f"{h.ipv4}:3689={nat.ipv4}:13689"
        exporter = bridge(h, "--export", MUSIC, "--key", "home", "--map", mapping, "--bootstrap", f"{b.ipv4}:27183")
        wait_until(lambda: names("Tom's Music")(outside.browse(MUSIC)), PATIENCE_S, "music", lambda: exporter.log)
        assert {(each.address, each.port) for each in outside.browse(MUSIC)} == {(nat.ipv4, 13689)}
        wait_line(exporter, "skipped Hidden", f"{h.ipv4} is private", f"--map {h.ipv4}=PUBLIC")
        call = (sys.executable, "-c", CALL, nat.ipv4, "13689")
        assert b.run(*call, check=False).returncode != 0  # the router does not forward yet
        nat.forward_port(13689, h, to=3689, protocol="tcp")
        assert b.run(*call).stdout == "music from behind the router\n"
