"""What an importer sends, decoded by tshark, while Avahi, python-zeroconf and hand-made queries ask it (RFC 6762)."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest

from tests.end_to_end.decoded import UNIQUE, Packet, Said, packets_of
from tests.end_to_end.sites import LIMIT_S, MDHT_PORT, PATIENCE_S, bridge, laboratory, names
from tools.netlab import Host, Watch

pytestmark = pytest.mark.lab
HERE = Path(__file__).parent
TYPE, MUSIC, PRINTER = "_daap._tcp", "Tom's M.usic", "Plain"
BASE = f"{TYPE}.local"
TXT = ["txtvers=1", "note=\u2019"]
TXT_BYTES = b"".join(bytes((len(text.encode()),)) + text.encode() for text in TXT)
ADDRESS = "198.51.100.77"
QUIET_S = 1.3
"Between two questions: a record may be multicast once a second."
SECOND_S = 0.98
"A second on the wire, less what two wake-ups of a busy machine differ by."
DIRECT_S = 0.4
"Wait for a unicast answer, or for one that nobody has just heard."
QU = 0x8000
MDNS_PORT = 5353


@dataclass
class Evidence:
    """What was seen."""

    packets: list[Packet] = field(default_factory=list)
    "Those of the importer."
    malformed: list[tuple[str, ...]] = field(default_factory=list)
    steps: dict[str, tuple[float, float]] = field(default_factory=dict)
    replies: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    "What came back by unicast: source port and bytes."
    zeroconf: dict[str, Any] = field(default_factory=dict)
    host: str = ""
    "Name of the printer's host on the importing link."
    asker: str = ""

    def during(self, step: str) -> list[Packet]:
        start, end = self.steps[step]
        return [one for one in self.packets if start <= one.at <= end]

    def answers(self, step: str) -> list[Said]:
        """The records in answer sections of responses during a step."""
        return [said for one in self.during(step) if one.is_response for said in one.of("answer")]


def labels(*words: str) -> dns.name.Name:
    """A full name; a dot in a word stays inside its label."""
    return dns.name.Name([*(word.encode() for word in words), b"_daap", b"_tcp", b"local", b""])


def query(
    *asked: tuple[dns.name.Name, str],
    unicast: bool = False,
    known: Sequence[dns.rrset.RRset] = (),
    more: bool = False,
    number: int = 0,
) -> str:
    """Return a query in hexadecimal digits."""
    message = dns.message.Message(id=number)
    message.flags = dns.flags.Flag(dns.flags.TC if more else 0)
    rdclass = dns.rdataclass.RdataClass.make(1 | (QU if unicast else 0))
    for name, rrtype in asked:
        message.find_rrset(message.question, name, rdclass, dns.rdatatype.from_text(rrtype), create=True)
    message.answer = list(known)
    return message.to_wire().hex()


def pointer(instance: str, ttl_s: int) -> dns.rrset.RRset:
    target = labels(instance).to_text()
    return dns.rrset.from_text(labels(), ttl_s, "IN", "PTR", target)


def ask(
    evidence: Evidence,
    host: Host,
    step: str,
    *packets: str,
    port: int = MDNS_PORT,
    pause: float = 0.0,
    wait: float = QUIET_S,
) -> None:
    """Send queries from a host, and note what comes back to it."""
    started = time.time()
    work = {"port": port, "packets": packets, "pause": pause, "wait": wait}
    done = host.run(sys.executable, str(HERE / "asker.py"), host.ipv4, stdin=json.dumps(work))
    evidence.steps[step] = (started, time.time())
    evidence.replies[step] = [(source, bytes.fromhex(data)) for source, data in json.loads(done.stdout)]


def ask_all(evidence: Evidence, host: Host) -> None:
    """Ask everything that an importer must be able to answer."""
    there = dns.name.from_text(evidence.host)
    whole, music = (labels(), "PTR"), (labels(MUSIC), "ANY")
    both = [pointer(MUSIC, 30), pointer(PRINTER, 30)]
    ask(evidence, host, "unicast", query(whole, unicast=True), wait=DIRECT_S)
    ask(evidence, host, "known", query(whole, known=both[:1]))
    ask(evidence, host, "nearly forgotten", query(whole, known=[pointer(MUSIC, 14), both[1]]))
    ask(evidence, host, "known in parts", query(whole, more=True), query(known=both))
    ask(evidence, host, "any", query(music), wait=DIRECT_S)
    ask(evidence, host, "address", query((there, "A")), wait=DIRECT_S)
    ask(evidence, host, "legacy", query(whole, number=4242), port=0, wait=DIRECT_S)
    ask(evidence, host, "legacy, no address", query((there, "AAAA"), number=4243), port=0, wait=DIRECT_S)
    ask(evidence, host, "no address", query((there, "AAAA")))
    ask(evidence, host, "often", *[query((labels(PRINTER), "SRV"))] * 24, pause=0.1, wait=0.0)


@pytest.fixture(scope="module")
def evidence() -> Iterator[Evidence]:
    found = Evidence()
    with laboratory() as lab:
        here = lab.subnet("here", "198.51.100.0/24", "2001:db8:1::/64")
        there = lab.subnet("there", "203.0.113.0/24", "2001:db8:2::/64")
        a, b, c, d = lab.host("a", here), *(lab.host(name, there) for name in "bcd")
        lab.router("router", here, there)
        avahi_a, avahi_c = lab.start_avahi(a, c)
        found.asker = d.ipv4
        capture = there.capture("udp port 5353 or ip6 or (ip[6:2] & 0x1fff != 0)")
        bridge(a, "--export", TYPE, "--key", "office")  # before what it is to hear: subtypes are only announced
        avahi_a.publish_address("printer.local", ADDRESS)
        avahi_a.publish(MUSIC, TYPE, 3689, ["txtvers=1"], [f"_jazz._sub.{TYPE}"])
        printer = avahi_a.publish(PRINTER, TYPE, 3690, TXT, host="printer.local")
        watch: Watch = avahi_c.watch(TYPE)
        importer = bridge(b, "--import", "--key", "office", "--bootstrap", f"{a.ipv4}:{MDHT_PORT}")
        watch.wait_for(names(MUSIC, PRINTER), PATIENCE_S)
        (found.host,) = {one.host for one in watch.services() if one.instance == PRINTER}
        time.sleep(QUIET_S)  # the second announcement
        script = str(HERE / "zeroconf_peer.py")
        found.zeroconf = json.loads(d.run(sys.executable, script, d.ipv4, f"{TYPE}.local.", PRINTER).stdout)
        ask_all(found, d)
        started = time.time()
        printer.withdraw()
        watch.wait_for(names(MUSIC), PATIENCE_S)
        found.steps["withdrawn"] = (started, time.time())
        importer.stop()
        watch.wait_for(names(), LIMIT_S)
        found.steps["ended"] = (found.steps["withdrawn"][1], time.time())
        capture.stop()
        mac = b.mac("eth0")
        found.packets = packets_of(capture, mac)
        found.malformed = capture.rows(f"eth.src == {mac} && _ws.malformed", "frame.number")
        yield found


def test_nothing_is_malformed_and_everything_is_of_the_link(evidence: Evidence) -> None:
    assert evidence.packets
    assert not evidence.malformed
    for one in evidence.packets:
        assert (one.hops, one.port) == (255, MDNS_PORT)
        # Responses are authoritative and whole; queries have no flag but TC (section 18).
        assert one.flags & ~0x0200 == (0x8400 if one.is_response else 0)
        assert not (one.is_response and one.flags & 0x0200)
        if one.is_response and one.is_multicast:
            assert not one.asked
        assert one.said or one.asked


def test_everything_is_multicast_over_ipv4_and_ipv6(evidence: Evidence) -> None:
    for version in (4, 6):
        sent = [one for one in evidence.packets if one.version == version and one.is_multicast]
        assert {said.text for one in sent for said in one.said} == {
            said.text for one in evidence.packets if one.is_multicast for said in one.said
        }


def test_every_name_is_probed_three_times_a_quarter_of_a_second_apart(evidence: Evidence) -> None:
    probes = [one for one in evidence.packets if one.is_probe and one.version == 4]
    wanted = {asked.name for one in probes for asked in one.asked}
    assert wanted >= {f"{MUSIC}.{BASE}", f"{PRINTER}.{BASE}", evidence.host}
    for name in wanted:
        times = [one.at for one in probes if any(asked.name == name for asked in one.asked)]
        assert len(times) == 3
        assert all(0.2 <= later - sooner <= 0.6 for sooner, later in pairwise(times))
    for one in probes:
        proposed = {said.name for said in one.of("authority")}
        # Host names with their addresses; instance names with nothing that a device could lose against.
        assert proposed == {asked.name for asked in one.asked if asked.name.startswith("z2z-")}
        # What comes by unicast would go to the machine's own responder (section 15.1).
        assert not any(asked.unicast for asked in one.asked)


def test_every_record_is_announced_twice_a_second_apart(evidence: Evidence) -> None:
    probed_at = max(one.at for one in evidence.packets if one.is_probe)
    announced = [one for one in evidence.packets if one.is_response and one.is_multicast]
    wanted = {said.text for one in announced for said in one.of("answer") if said.type != "NSEC" and said.ttl_s}
    for version in (4, 6):
        for text in wanted:
            times = [
                one.at for one in announced if one.version == version and text in {said.text for said in one.said}
            ][:2]
            assert times[0] <= probed_at + 1.5
            assert SECOND_S <= times[1] - times[0] <= 2.0


def test_cache_flush_is_for_unique_records_only_and_lifetimes_are_short(evidence: Evidence) -> None:
    for one in evidence.packets:
        for said in one.said:
            assert 0 <= said.ttl_s <= 120
            assert said.ttl_s > 0 or one.is_response
            to_caches = one.is_response and not one.asked  # it is nothing for plain resolvers
            if said.ttl_s > 0:
                assert said.flush is (to_caches and said.type in UNIQUE), said.text
            elif said.flush:  # a goodbye after which nobody is to take over; never of addresses
                assert said.type in {"SRV", "TXT"}, said.text


def test_no_record_is_multicast_twice_within_a_second(evidence: Evidence) -> None:
    for version in (4, 6):
        heard: dict[tuple[str, bool], float] = {}
        for one in evidence.packets:
            if not one.is_response or not one.is_multicast or one.version != version:
                continue
            for said in one.said:
                key = (said.text, said.ttl_s == 0)
                assert one.at - heard.get(key, 0.0) >= SECOND_S, said.text
                heard[key] = one.at


def test_avahi_and_zeroconf_resolve_what_was_published(evidence: Evidence) -> None:
    seen = evidence.zeroconf
    assert {f"{PRINTER}.{BASE}.", f"{MUSIC}.{BASE}."} <= set(seen["names"])
    assert seen["resolved"]
    assert (seen["port"], seen["addresses"], seen["host"]) == (3690, [ADDRESS], f"{evidence.host}.")
    assert bytes.fromhex(seen["txt"]) == TXT_BYTES


def test_question_for_a_unicast_answer_gets_one(evidence: Evidence) -> None:
    (sent,) = [one for one in evidence.during("unicast") if one.is_response]
    assert (sent.to, sent.version) == (evidence.asker, 4)
    assert {said.fields["dns.ptr.domain_name"] for said in sent.of("answer")} == {
        f"{MUSIC}.{BASE}",
        f"{PRINTER}.{BASE}",
    }
    assert {said.type for said in sent.of("additional")} == {"SRV", "TXT", "A", "AAAA", "NSEC"}


def test_known_answers_are_left_out(evidence: Evidence) -> None:
    def told(step: str) -> set[str]:
        return {said.fields["dns.ptr.domain_name"] for said in evidence.answers(step) if said.type == "PTR"}

    assert told("known") == {f"{PRINTER}.{BASE}"}
    assert told("nearly forgotten") == {f"{MUSIC}.{BASE}"}
    assert told("known in parts") == set()


def test_any_brings_all_records_of_the_name(evidence: Evidence) -> None:
    assert {(said.name, said.type) for said in evidence.answers("any")} == {
        (f"{MUSIC}.{BASE}", "SRV"),
        (f"{MUSIC}.{BASE}", "TXT"),
    }


def test_missing_types_are_denied_beside_an_address_and_when_asked_for(evidence: Evidence) -> None:
    def denied(said: Said) -> bool:
        return said.type == "NSEC" and said.name == said.fields["dns.nsec.next_domain_name"] == evidence.host

    (answer, *_) = [one for one in evidence.during("address") if one.is_response]
    assert [said.fields["dns.a"] for said in answer.of("answer")] == [ADDRESS]
    assert [denied(said) for said in answer.of("additional")] == [True]
    assert evidence.answers("no address")
    for said in evidence.answers("no address"):
        assert denied(said)
        assert said.fields["dns.resp.type"] == ["47", "1"]  # of its bitmap only A
        assert said.fields["dns.resp.len"] == "5"  # the name is a pointer of two bytes; window, length, bits


def test_plain_resolver_gets_a_plain_answer(evidence: Evidence) -> None:
    ((port, data),) = evidence.replies["legacy"]
    reply = dns.message.from_wire(data)
    assert (port, reply.id, reply.flags) == (MDNS_PORT, 4242, dns.flags.QR | dns.flags.AA)
    assert [(one.name, one.rdtype) for one in reply.question] == [(labels(), dns.rdatatype.PTR)]
    records = (*reply.answer, *reply.additional)
    assert {target.to_text() for one in reply.answer for target in one} == {
        labels(name).to_text() for name in (MUSIC, PRINTER)
    }
    assert max(one.ttl for one in records) <= 10
    assert {one.rdclass for one in records} == {dns.rdataclass.IN}  # the cache-flush bit would be another class
    assert not any(one.is_multicast for one in evidence.during("legacy") if one.is_response)
    (sent,) = [one for one in evidence.during("legacy") if one.is_response]
    assert sent.asked
    (srv,) = [said for said in sent.said if said.type == "SRV" and said.name.startswith(PRINTER)]
    assert int(srv.fields["dns.resp.len"]) == 6 + len(evidence.host) + 2  # uncompressed (section 18.14)
    ((_, data),) = evidence.replies["legacy, no address"]
    reply = dns.message.from_wire(data)
    assert (reply.id, reply.rcode(), reply.answer) == (4243, 0, [])


def test_a_flood_of_one_question_is_answered_once_a_second(evidence: Evidence) -> None:
    told = [one.at for one in evidence.during("often") if one.version == 4 and one.is_response]
    assert 2 <= len(told) <= 3


def test_goodbyes_are_said_for_every_record_of_what_goes(evidence: Evidence) -> None:
    def gone(step: str) -> set[tuple[str, str]]:
        return {(said.name, said.type) for said in evidence.answers(step) if said.ttl_s == 0}

    assert gone("withdrawn") == {
        (BASE, "PTR"),
        (f"{PRINTER}.{BASE}", "SRV"),
        (f"{PRINTER}.{BASE}", "TXT"),
        (evidence.host, "A"),
    }
    hosts = {name for name, kind in gone("ended") if kind == "AAAA"}
    assert gone("ended") == {
        (BASE, "PTR"),
        (f"_jazz._sub.{BASE}", "PTR"),
        ("_services._dns-sd._udp.local", "PTR"),
        (f"{MUSIC}.{BASE}", "SRV"),
        (f"{MUSIC}.{BASE}", "TXT"),
        *((name, kind) for name in hosts for kind in ("A", "AAAA")),
    }
