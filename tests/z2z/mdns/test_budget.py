"""A thousand imports on a link whose browsers ask more than the budget can answer."""

from ipaddress import IPv4Address

import pytest

from tests.z2z.mdns.memory_link import MemoryLink, Station
from z2z.mdns.messages import (
    RR_ANY,
    RR_PTR,
    Address4,
    MdnsMessage,
    Ptr,
    Question,
    Record,
    Registered,
    Srv,
)
from z2z.mdns.outbox import PACKETS_PER_MINUTE, burst_of

BASE = (b"_daap", b"_tcp", b"local")
IMPORTS = 1_000
BROWSE = MdnsMessage(questions=(Question(name=BASE, rrtype=RR_PTR),))
THEIRS = (b"z2z-203-0-113-1-x", b"local")


def instance(number: int) -> tuple[bytes, ...]:
    return (b"Service %d" % number, *BASE)


def host(number: int) -> bytes:
    return b"z2z-198-51-100-%d-office" % (number % 250)


def ask(link: MemoryLink, station: Station, seconds: int) -> None:
    """A browser that knows nothing, once a second."""
    for second in range(seconds):
        station.hear(BROWSE, source=f"192.0.2.{100 + second % 100}")
        link.run(1)


@pytest.fixture
def crowded() -> tuple[MemoryLink, Station]:
    """The budget is used up, and answers wait."""
    link = MemoryLink()
    station = link.station()
    for number in range(IMPORTS):
        station.register(f"Service {number}", host=host(number))
    link.run(30)
    assert len(station.happened(Registered)) == IMPORTS
    ask(link, station, 12)
    assert station.responder.outbox.backlog
    assert station.responder.outbox.drops
    assert station.responder.outbox.delays
    link.sent.clear()
    station.events.clear()
    return link, station


def first(link: MemoryLink, name: tuple[bytes, ...]) -> float:
    return next(when for when, _, message in link.sent if any(record.name == name for record in message.answers))


def test_the_budget_holds_and_goodbyes_go_at_once(crowded: tuple[MemoryLink, Station]) -> None:
    link, station = crowded
    ask(link, station, 30)
    assert len(link.sent) <= 30 * PACKETS_PER_MINUTE / 60 + 1
    link.sent.clear()
    station.do(station.responder.withdraw("Service 7", link.now))
    said = [(when, record) for when, _, message in link.sent for record in message.answers]
    assert any(when == link.now and isinstance(one.data, Ptr) and one.ttl_s == 0 for when, one in said)


def test_an_answer_that_waits_does_not_bring_a_service_back_to_life(crowded: tuple[MemoryLink, Station]) -> None:
    link, station = crowded
    link.run(10)
    station.hear(BROWSE)
    link.run(0.2)
    waiting = [message for _, message in station.responder.outbox._answers._queue]
    target = next(one.data.target for one in waiting[5].answers if isinstance(one.data, Ptr))
    station.do(station.responder.withdraw(target[0].decode(), link.now))
    link.run(5)
    lifetimes = [
        record.ttl_s
        for _, _, message in link.sent
        for record in message.answers
        if isinstance(record.data, Ptr) and record.data.target == target
    ]
    assert lifetimes[0] == 0
    assert lifetimes[-2] > 0, "an answer had waited"
    assert lifetimes[-1] == 0


def test_a_new_import_becomes_visible_all_the_same(crowded: tuple[MemoryLink, Station]) -> None:
    link, station = crowded
    station.do(station.responder.withdraw("Service 7", link.now))
    station.register("New", host=b"z2z-198-51-100-251-office")
    started = link.now
    ask(link, station, 3)
    (visible,) = [when - started for when, event in station.events if isinstance(event, Registered)]
    assert visible <= 1.5
    assert first(link, (b"New", *BASE)) - started <= 1.6


def test_a_probe_for_one_of_our_names_is_answered_in_time(crowded: tuple[MemoryLink, Station]) -> None:
    link, station = crowded
    rival = Record(name=instance(5), data=Srv(0, 0, 1, THEIRS), ttl_s=120)
    started = link.now
    station.hear(MdnsMessage(questions=(Question(name=instance(5), rrtype=RR_ANY),), authorities=(rival,)))
    link.run(1)
    assert first(link, instance(5)) - started <= 0.1


def test_a_name_that_another_host_uses_is_defended_in_time(crowded: tuple[MemoryLink, Station]) -> None:
    link, station = crowded
    name = (host(5), b"local")
    # Of two hosts that use a name, the one with the later address keeps it: ours is 198.51.100.7.
    rival = Record(name=name, data=Address4(IPv4Address("1.2.3.4")), ttl_s=120, unique=True)
    started = link.now
    station.hear(MdnsMessage(is_response=True, answers=(rival,)))
    link.run(1)
    assert first(link, name) - started <= 0.1


def test_a_thousand_imports_on_a_quiet_link_stay_below_the_burst() -> None:
    link = MemoryLink()
    station = link.station()
    for number in range(IMPORTS):
        station.register(f"Service {number}", host=host(number))
    link.run(30)
    assert len(link.sent) < burst_of(PACKETS_PER_MINUTE)
    assert (station.responder.outbox.delays, station.responder.outbox.drops) == (0, 0)
