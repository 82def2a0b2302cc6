import hashlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from mdht.signing import SigningKey
from tests.end_to_end.hostile import damaged, envelope, item
from tests.end_to_end.sites import (
    LIMIT_S,
    MDHT_PORT,
    PATIENCE_S,
    alive,
    bridge,
    command,
    json_lines,
    laboratory,
    names,
    shows,
    wait_line,
)
from tools.netlab import Avahi, Host, Process, wait_until

pytestmark = pytest.mark.lab


@dataclass(frozen=True)
class World:
    """Host a on one subnet; b and its neighbour n on another; Avahi on a, and on b for the loopback interface too."""

    a: Host
    b: Host
    n: Host
    avahi_a: Avahi
    avahi_b: Avahi

    @property
    def entry(self) -> str:
        return f"{self.a.ipv4}:{MDHT_PORT}"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with laboratory() as lab:
        here, there = lab.subnet("here", "198.51.100.0/24"), lab.subnet("there", "203.0.113.0/24")
        a, b, n = lab.host("a", here), lab.host("b", there), lab.host("n", there)
        lab.router("router", here, there)
        yield World(a, b, n, a.start_avahi(), b.start_avahi(loopback=True))


def mdns_packets(sniffer: Process) -> list[str]:
    """Return what a neighbour has heard of multicast DNS, a line per packet."""
    return [line for line in sniffer.log.splitlines() if ".5353" in line]


def sniff(host: Host, source: Host) -> Process:
    sniffer = host.popen("tcpdump", "-lni", "eth0", "udp port 5353 and ether host " + mac(source))
    sniffer.wait_for("listening on")
    return sniffer


def mac(host: Host) -> str:
    return host.run("cat", "/sys/class/net/eth0/address").stdout.strip()


def one_line(host: Host, status: int, said: str, *arguments: str) -> None:
    """Check that `z2z` refuses this with one line, which says what matters, and a status."""
    done = command(host, "z2z", *arguments)
    assert (done.returncode, done.stdout) == (status, ""), done
    (line,) = done.stderr.splitlines()
    assert line.startswith("z2z: ")
    assert said in line


def test_a_local_import_is_seen_by_this_machine_and_sends_nothing_to_the_link(world: World) -> None:
    world.avahi_a.publish("Mine alone", "_local._tcp", 9)
    bridge(world.a, "--export", "_local._tcp", "--key", "local")
    watch = world.avahi_b.watch("_local._tcp")
    sniffer = sniff(world.n, world.b)
    importer = bridge(world.b, "--import", "--key", "local", "--local-only", "--bootstrap", world.entry)
    watch.wait_for(names("Mine alone"), PATIENCE_S)
    assert {each.interface for each in watch.services()} == {"lo"}
    assert {(each.port, each.address) for each in watch.services()} == {(9, world.a.ipv4)}
    assert importer.stop() == 0
    watch.wait_for(names(), PATIENCE_S)
    heard = [line for line in mdns_packets(sniffer) if "Mine alone" in line or "z2z-" in line or "_mdht" in line]
    assert heard == []
    print(f"{len(mdns_packets(sniffer))} packets of multicast DNS from b, none of them of z2z")


def test_once_puts_and_looks_once(world: World) -> None:
    """Something that stays must hold the record meanwhile: another peer."""
    peer = world.n.popen(Host.program("mdht"), "run")
    peer.wait_for("node ")
    entry = ("--bootstrap", f"{world.n.ipv4}:{MDHT_PORT}")
    service = world.avahi_a.publish("Once", "_brief._tcp", 9)
    done = command(world.a, "z2z", "--export", "_brief._tcp", "--key", "brief", "--once", *entry)
    assert done.returncode == 0, done
    assert f"exported Once (_brief._tcp) {world.a.ipv4}:9 as brief" in done.stdout.splitlines()
    assert "withdrawn" not in done.stdout
    found = command(world.b, "z2z", "--import", "--key", "brief", "--once", "--json", *entry)
    assert found.returncode == 0, found
    (line,) = json_lines(found.stdout)
    assert (line["event"], line["service"], line["where"]) == ("found", "Once", [f"{world.a.ipv4}:9"])
    assert world.avahi_b.browse("_brief._tcp") == []
    service.withdraw()


def test_a_dry_run_says_who_would_see_what_and_changes_nothing(world: World) -> None:
    world.avahi_a.publish("Dry", "_dry._tcp", 9)
    watch = world.avahi_b.watch("_dry._tcp")
    bridge(world.b, "--import", "--key", "dry")
    entry = ("--bootstrap", f"{world.b.ipv4}:{MDHT_PORT}")
    done = command(world.a, "z2z", "--export", "_dry._tcp", "--key", "dry", "--dry-run", *entry)
    assert done.returncode == 0
    (line,) = [line for line in done.stdout.splitlines() if "Dry" in line]
    assert "would" in line
    assert "as dry" in line
    assert watch.services() == []


def test_changes_come_as_json_and_status_tells_how_things_stand(world: World) -> None:
    world.avahi_a.publish_address("inner.local", "10.1.2.3")
    world.avahi_a.publish("Shown", "_json._tcp", 9)
    world.avahi_a.publish("Inner", "_json._tcp", 8, host="inner.local")
    exporter = world.a.z2z("--export", "_json._tcp", "--key", "json", "--json", "--site", "there")
    wait_until(lambda: len(json_lines(exporter.log)) == 2, PATIENCE_S, "two changes", lambda: exporter.log)
    events = {line["service"]: line for line in json_lines(exporter.log)}
    assert (events["Shown"]["event"], events["Shown"]["keys"]) == ("exported", ["json"])
    assert events["Inner"]["event"] == "skipped"
    assert "10.1.2.3 is private" in events["Inner"]["reason"]
    importer = bridge(world.b, "--import", "--key", "json", "--bootstrap", world.entry)
    wait_line(importer, "imported Shown")
    table = command(world.a, "z2z", "status").stdout.splitlines()
    for words in (
        ("exported", "Shown", "_json._tcp", f"{world.a.ipv4}:9"),
        ("skipped", "Inner", "10.1.2.3 is private"),
    ):
        assert any(all(word in line for word in words) for line in table), table
    program, *services = json_lines(command(world.b, "z2z", "status", "--json").stdout)
    assert program["link"]["packets_out"] > 0
    metrics = command(world.b, "z2z", "status", "--prometheus").stdout
    assert 'role="import",state="imported"}' in metrics
    assert 'what="packets_out"}' in metrics
    assert program["pid"] == importer.pid
    assert [(each["state"], each["service"], each["site"]) for each in services] == [("imported", "Shown", "there")]


def test_browse_lists_what_the_link_shows(world: World) -> None:
    world.avahi_b.publish("A.B: “ü”", "_look._tcp", 9, ["path=/x"])
    done = command(world.n, "z2z", "browse", "_look._tcp", "--seconds", "1.5")
    assert done.returncode == 0
    (line,) = [line for line in done.stdout.splitlines() if "_look._tcp" in line]
    assert all(word in line for word in ("A.B: “ü”", f"{world.b.ipv4}:9", "path=/x"))
    everything = json_lines(command(world.n, "z2z", "browse", "--json", "--seconds", "2.5").stdout)
    assert ("A.B: “ü”", "_look._tcp") in {(each["service"], each["service_type"]) for each in everything}
    nothing = command(world.n, "z2z", "browse", "_absent._tcp", "--seconds", "0.5")
    assert nothing.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--export", "daap"), "is not a DNS-SD service type"),
        (("--export", "_daap._sctp"), "is not a DNS-SD service type"),
        (("--export", "_" + "x" * 16 + "._tcp"), "is not a DNS-SD service type"),
        (("--import", "--key", ""), "key"),
        (("--import", "--key", "'!?"), "no letter and no digit"),
        (("--import",), "needs a --key"),
        (("--import", "--key", "k", "--bootstrap", "198.51.100.2:0"), "port"),
        (("--import", "--key", "k", "--bootstrap", "198.51.100.2:65536"), "port"),
        (("--import", "--key", "k", "--bootstrap", "no such host"), "host"),
        (("--import:floppy",), "unknown store"),
        (("--import", "--key", "k", "--site", "x" * 64), "site"),
        (("--export", "_ssh._tcp"), "--force-type"),
        (("--export", "_daap._tcp", "--ttl", "1"), "--ttl"),
        (("--nonsense",), "--nonsense"),
        ((), "nothing to do"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(world: World, arguments: tuple[str, ...], said: str) -> None:
    one_line(world.n, 2, said, *arguments)


def test_what_this_machine_cannot_do_is_one_line_and_status_1(world: World) -> None:
    one_line(world.n, 1, "eth7", "--export", "_daap._tcp", "--interface", "eth7")
    one_line(world.n, 1, "/proc/nothing", "--export", "_daap._tcp", "--state-dir", "/proc/nothing")
    wrong = world.n.directory / "wrong.pem"
    wrong.write_text("this is no key")
    one_line(world.n, 1, "wrong.pem", "--export", "_daap._tcp", "--identity", str(wrong))


def test_a_second_copy_says_who_runs(world: World) -> None:
    first = bridge(world.n, "--export", "_copy._tcp", "--key", "copy")
    one_line(world.n, 1, f"already running (pid {first.pid})", "--export", "_copy._tcp", "--key", "COPY")
    alive(first)
    bridge(world.n, "--export", "_copy._tcp", "--key", "another")


def test_an_unreachable_entry_point_is_a_warning_and_the_work_goes_on(world: World) -> None:
    world.avahi_a.publish("Alone", "_entry._tcp", 9)
    exporter = bridge(world.a, "--export", "_entry._tcp", "--key", "entry", "--bootstrap", "192.0.2.99:27183")
    wait_line(exporter, "exported Alone")
    wait_line(exporter, "no other node answers")
    assert len([line for line in exporter.log.splitlines() if line.startswith("z2z: ")]) == 1, exporter.log
    watch = world.avahi_b.watch("_entry._tcp")
    bridge(world.b, "--import", "--key", "entry", "--bootstrap", world.entry)
    watch.wait_for(names("Alone"), PATIENCE_S)


def test_a_record_with_a_forged_signature_is_refused_once_and_the_rest_is_shown(world: World) -> None:
    world.avahi_a.publish("Honest", "_forged._tcp", 9)
    bridge(world.a, "--export", "_forged._tcp", "--key", "forged")
    signer = SigningKey.generate()
    honest = envelope(item(service_type="_forged._tcp", instance=b"Forged"), signer)
    for name, value in (("damaged", damaged(honest)), ("of somebody else", honest), ("noise", b"\xff" * 100)):
        key = "0x" + hashlib.sha1(b"z2z.forged").hexdigest()
        words = ("put", key, "-", "--name", name, "--bootstrap", world.entry)
        done = command(world.n, "mdht", *words, stdin=value.decode(errors="surrogateescape"))
        assert done.returncode == 0, done
    importer = bridge(world.b, "--import", "--key", "forged", "--bootstrap", world.entry)
    watch = world.avahi_b.watch("_forged._tcp")
    watch.wait_for(shows("Honest"), PATIENCE_S)
    wait_until(lambda: importer.log.count("refused ") == 3, PATIENCE_S, "three refusals", lambda: importer.log)
    for reason in ("forged or damaged", "put by somebody else", "not an envelope"):
        assert importer.log.count(reason) == 1, importer.log
    assert names("Honest")(watch.services())


def test_a_second_ctrl_c_ends_at_once(world: World) -> None:
    process = bridge(world.n, "--import", "--key", "stop", "--bootstrap", "192.0.2.99:27183")
    # Two signals at once may arrive as one, so the second is sent again until it has its effect.
    wait_until(lambda: process.poll() is not None or process.send_signal(signal.SIGINT), LIMIT_S, "end")
    # The last one may hit a program that has taken its hands off signals already; a shell calls that 130 too.
    assert process.returncode in (130, -signal.SIGINT)


def test_help_shows_how_it_is_used(world: World) -> None:
    done = command(world.n, "z2z", "--help")
    assert done.returncode == 0
    assert "z2z --export _daap._tcp --key office" in done.stdout
