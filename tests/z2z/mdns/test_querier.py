from contextlib import suppress
from ipaddress import ip_address
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.z2z.mdns.memory_link import MemoryLink, Station, item
from z2z.errors import LocalProtocolError, RemoteProtocolError
from z2z.mdns.cache import Cache
from z2z.mdns.messages import (
    ENUMERATION,
    RR_A,
    RR_AAAA,
    RR_PTR,
    RR_SRV,
    RR_TXT,
    Address4,
    Address6,
    Confirmed,
    MdnsMessage,
    Name,
    Nsec,
    Ptr,
    Record,
    SendMulticast,
    ServiceChanged,
    ServiceFound,
    ServiceLost,
    ServiceRefused,
    Srv,
    Txt,
    TypeFound,
    TypeLost,
    Unconfirmed,
)
from z2z.mdns.querier import GATHER_S, Querier, QuerierConfig

TYPE = "_daap._tcp"
BASE: Name = (b"_daap", b"_tcp", b"local")
NAME: Name = ("Tom\u2019s M.usic".encode(), *BASE)
HOST: Name = (b"toms-mac", b"local")
SRV = Srv(0, 0, 3689, HOST)
ADDRESS = Address4(ip_address("198.51.100.7"))  # type: ignore[arg-type]


def record(name: Name, data: object, ttl_s: int = 120, unique: bool = True) -> Record:
    return Record(name=name, data=data, ttl_s=ttl_s, unique=unique)  # type: ignore[arg-type]


POINTER = record(BASE, Ptr(NAME), 4_500, unique=False)
ALL = (POINTER, record(NAME, SRV), record(NAME, Txt(b"\x01a"), 4_500), record(HOST, ADDRESS))
ADDRESS6 = record(HOST, Address6(ip_address("2001:db8::7")))  # type: ignore[arg-type]
ONLY_IPV4 = record(HOST, Nsec(HOST, (RR_A,)))


def browsing(service_type: str = TYPE) -> tuple[MemoryLink, Station]:
    link = MemoryLink()
    station = link.station()
    station.do(station.querier.browse(service_type, link.now))
    return link, station


def say(station: Station, *records: Record) -> None:
    station.hear(MdnsMessage(is_response=True, answers=records))


def goodbye(one: Record) -> Record:
    return Record(name=one.name, data=one.data, ttl_s=0, unique=one.unique)


def kinds(station: Station) -> list[type]:
    return [type(event) for _, event in station.events]


def asked(link: MemoryLink, since: int = 0) -> list[tuple[Name, int]]:
    return [(one.name, one.rrtype) for _, _, message in link.sent[since:] for one in message.questions]


def test_queries_begin_soon_and_double_their_interval_up_to_an_hour() -> None:
    link, station = browsing()
    started = link.now
    link.run(20_000)
    times = [when - started for when, _, _ in link.sent]
    assert 0.02 <= times[0] <= 0.12
    assert [round(later - times[0]) for later in times[1:9]] == [1, 3, 7, 15, 31, 63, 127, 255]
    assert round(times[-1] - times[-2]) == 3_600
    assert not any(one.unicast for _, _, message in link.sent for one in message.questions)
    assert kinds(station) == []


def test_instance_in_one_packet_is_found_without_a_further_question() -> None:
    link, station = browsing()
    say(station, ONLY_IPV4, *reversed(ALL))
    link.run(0.1)
    (event,) = station.happened(ServiceFound)
    assert event == ServiceFound(
        item("Tom\u2019s M.usic", txt=b"\x01a", host=b"toms-mac", addresses=(ip_address("198.51.100.7"),))
    )
    assert set(asked(link)) == {(BASE, RR_PTR)}
    assert station.querier.known(TYPE) == [event.item]


def test_what_is_missing_is_asked_for_step_by_step() -> None:
    link, station = browsing()
    link.run(0.2)
    mark = len(link.sent)
    say(station, POINTER)
    link.run(0.1)
    assert asked(link, mark) == [(NAME, RR_SRV), (NAME, RR_TXT)]
    say(station, ALL[1], ALL[2])
    link.run(1)
    assert set(asked(link, mark)) >= {(HOST, RR_A), (HOST, RR_AAAA)}
    assert kinds(station) == []
    say(station, ALL[3], ADDRESS6)
    link.run(0.1)
    assert kinds(station) == [ServiceFound]


def test_what_completes_just_before_its_next_attempt_is_found_by_a_late_tick() -> None:
    link, station = browsing()
    link.run(0.2)
    say(station, POINTER)
    link.run(0.1)
    while station.querier.next_deadline() > link.now + 0.02:  # up to the next attempt to resolve it
        link.run(0.01)
    say(station, *ALL, ONLY_IPV4)
    link.now += 0.5  # a busy machine: what the answer leads to and the attempt are due in one tick
    station.do(station.querier.tick(link.now))
    assert kinds(station) == [ServiceFound]


def test_addresses_are_asked_for_as_soon_as_an_announcement_names_the_host() -> None:
    link, station = browsing()
    link.run(0.2)
    say(
        station, POINTER
    )  # some responders send it while they still probe, and answer nothing else before they are done
    link.run(0.2)
    since = len(link.sent)
    say(station, *ALL[1:3])
    link.run(0.1)
    assert asked(link, since) == [(HOST, RR_A), (HOST, RR_AAAA)]
    say(station, ALL[3], ADDRESS6)
    link.run(0.1)
    assert kinds(station) == [ServiceFound]


def test_addresses_that_were_announced_just_before_the_service_are_not_asked_for() -> None:
    link, station = browsing()
    link.run(0.2)
    since = len(link.sent)
    say(station, ALL[3], ONLY_IPV4)
    link.run(0.5)
    say(station, *ALL[:3])
    link.run(0.1)
    assert kinds(station) == [ServiceFound]
    assert not {(HOST, RR_A), (HOST, RR_AAAA)} & set(asked(link, since))


def test_addresses_that_were_announced_long_before_the_service_are_asked_for() -> None:
    link, station = browsing()
    say(station, ALL[3])
    link.run(2.5)
    since = len(link.sent)
    say(station, *ALL[:3])
    link.run(0.1)
    assert (HOST, RR_A) in asked(link, since)


@pytest.mark.parametrize(("first", "second"), [(ALL[3], ADDRESS6), (ADDRESS6, ALL[3])])
def test_a_service_is_found_once_with_the_addresses_of_both_families(first: Record, second: Record) -> None:
    link, station = browsing()
    say(station, *ALL[:3], first)
    link.run(0.12)
    assert kinds(station) == []
    missing = RR_AAAA if first is ALL[3] else RR_A
    assert [each for each in asked(link) if each[0] == HOST] == [(HOST, missing)]
    say(station, second)
    link.run(2)
    (event,) = station.happened(ServiceFound)
    assert isinstance(event, ServiceFound)
    assert [address.version for address in event.item.addresses] == [4, 6]
    assert kinds(station) == [ServiceFound]


def test_a_service_of_one_family_is_found_a_moment_later_or_at_once_if_its_host_says_so() -> None:
    link, station = browsing()
    started = link.now
    say(station, *ALL)
    link.run(2)
    assert station.events[0][0] - started == pytest.approx(0.05 + 0.15)
    link, station = browsing()
    started = link.now
    say(station, *ALL)
    link.run(0.1)
    say(station, ONLY_IPV4)
    link.run(2)
    assert station.events[0][0] - started == pytest.approx(0.1 + 0.05)


def test_resolving_is_tried_four_times_and_again_after_the_next_announcement() -> None:
    link, station = browsing()
    say(station, POINTER)
    link.run(60)
    assert asked(link).count((NAME, RR_SRV)) == 4
    say(station, POINTER)
    link.run(60)
    assert asked(link).count((NAME, RR_SRV)) == 8
    assert kinds(station) == []


def test_at_most_twenty_instances_are_resolved_at_once() -> None:
    link, station = browsing()
    say(station, *(record(BASE, Ptr((b"S%d" % number, *BASE)), unique=False) for number in range(50)))
    link.run(0.5)
    assert len([1 for _, rrtype in asked(link) if rrtype == RR_SRV]) == 20
    link.run(30)
    assert len({name for name, rrtype in asked(link) if rrtype == RR_SRV}) == 50


def test_goodbye_counts_after_a_second_unless_the_service_comes_back() -> None:
    link, station = browsing()
    say(station, *ALL)
    link.run(1)
    say(station, goodbye(POINTER))
    link.run(0.5)
    assert kinds(station) == [ServiceFound]
    say(station, POINTER)
    link.run(5)
    assert kinds(station) == [ServiceFound]
    said_at = link.now
    say(station, goodbye(POINTER))
    link.run(5)
    assert kinds(station) == [ServiceFound, ServiceLost]
    assert 1.0 <= station.events[-1][0] - said_at <= 1.1
    assert station.events[-1][1] == ServiceLost(service_type=TYPE, instance=NAME[0])
    assert station.querier.records_cached == 0


def plain(one: Record) -> Record:
    return record(one.name, one.data, one.ttl_s, unique=False)


@pytest.mark.parametrize(
    "packets",
    [
        [map(goodbye, ALL)],
        [[goodbye(ALL[1])]],
        [[goodbye(POINTER)], [goodbye(ALL[1])]],
        [[goodbye(POINTER)], [plain(goodbye(ALL[1]))]],
        [[plain(goodbye(one)) for one in ALL]],
    ],
)
def test_goodbye_of_the_owner_counts_at_once(packets: list[list[Record]]) -> None:
    link, station = browsing()
    say(station, *ALL)
    link.run(10)
    said_at = link.now
    for packet in packets:
        say(station, *packet)
    link.run(0.5)
    assert station.events[-1] == (said_at + 0.05, ServiceLost(service_type=TYPE, instance=NAME[0]))
    say(station, *ALL)
    link.run(5)
    assert kinds(station) == [ServiceFound, ServiceLost, ServiceFound]


@pytest.mark.parametrize(
    "packet",
    [
        [plain(goodbye(ALL[1]))],
        [goodbye(ALL[2])],
        [goodbye(ALL[3])],
        [goodbye(record(NAME, Srv(0, 0, 9, HOST)))],
        [goodbye(record((b"Another", *BASE), SRV))],
        [goodbye(ALL[1]), record(NAME, Srv(0, 0, 9, HOST))],
    ],
)
def test_other_goodbyes_leave_a_second_to_say_that_it_lives(packet: list[Record]) -> None:
    link, station = browsing()
    say(station, *ALL)
    link.run(10)
    say(station, *packet)
    link.run(0.9)
    assert ServiceLost not in kinds(station)
    if not any(one.ttl_s for one in packet):
        say(station, *ALL)
    link.run(10)
    assert ServiceLost not in kinds(station)


def test_instance_whose_srv_alone_was_taken_back_is_asked_for_again() -> None:
    link, station = browsing()
    say(station, *ALL)
    link.run(10)
    since = len(link.sent)
    say(station, goodbye(ALL[1]))
    link.run(0.1)
    assert (NAME, RR_SRV) in asked(link, since)
    say(station, record(NAME, Srv(0, 0, 4000, HOST)), ALL[3])
    link.run(1)
    assert kinds(station) == [ServiceFound, ServiceLost, ServiceFound]
    assert station.querier.known(TYPE)[0].port == 4000


def test_change_is_reported_once_with_all_that_changed() -> None:
    link, station = browsing()
    say(station, *ALL)
    link.run(5)
    say(station, record(NAME, Srv(0, 0, 4000, HOST)))
    say(station, record(NAME, Txt(b"\x01b"), 4_500))
    say(station, record(HOST, Address6(ip_address("2001:db8::7")), unique=False))  # type: ignore[arg-type]
    link.run(5)
    assert kinds(station) == [ServiceFound, ServiceChanged]
    changed = station.events[-1][1]
    assert isinstance(changed, ServiceChanged)
    assert (changed.item.port, changed.item.txt, len(changed.item.addresses)) == (4000, b"\x01b", 2)


def test_cache_flush_drops_older_addresses_after_a_second() -> None:
    link, station = browsing()
    say(station, *ALL)
    link.run(5)
    other = Address4(ip_address("198.51.100.8"))  # type: ignore[arg-type]
    say(station, record(HOST, other), record(HOST, Address4(ip_address("198.51.100.9"))))  # type: ignore[arg-type]
    link.run(3)
    assert [str(one) for one in station.querier.known(TYPE)[0].addresses] == ["198.51.100.8", "198.51.100.9"]


def test_announcement_repeated_in_other_letters_changes_nothing() -> None:
    link, station = browsing()
    say(station, *ALL)
    link.run(5)
    upper = (NAME[0], b"_DAAP", b"_TCP", b"LOCAL")
    say(station, record(upper[1:], Ptr(upper), 4_500, unique=False), record(upper, Srv(0, 0, 3689, HOST)))
    link.run(5)
    assert kinds(station) == [ServiceFound]


def test_wanted_records_are_asked_for_again_before_they_end() -> None:
    link, station = browsing()
    say(station, *ALL)
    started = link.now
    link.run(119.9)
    times = [
        when - started
        for when, _, message in link.sent
        if any((one.name, one.rrtype) == (NAME, RR_SRV) for one in message.questions)
    ]
    assert [round(when / 120, 1) for when in times] == [0.8, 0.9, 0.9, 1.0]
    assert 0.80 * 120 <= times[0] <= 0.82 * 120 + 0.25
    assert kinds(station) == [ServiceFound]
    link.run(20)
    assert kinds(station) == [ServiceFound, ServiceLost]


def test_device_that_vanishes_silently_is_lost_when_its_host_record_ends() -> None:
    link, station = browsing()
    say(station, *ALL)
    link.run(200)
    assert kinds(station) == [ServiceFound, ServiceLost]
    lost_after = station.events[-1][0] - 1_000
    assert 120 <= lost_after <= 135
    say(station, *ALL)
    link.run(1)
    assert kinds(station) == [ServiceFound, ServiceLost, ServiceFound]


def test_known_answers_go_with_the_query_while_half_their_life_is_left() -> None:
    link, station = browsing()
    say(station, *ALL)
    link.run(70)
    assert len(link.sent[-1][2].answers) == 1
    assert link.sent[-1][2].answers[0].ttl_s < 4_500
    link.run(4_000)
    last = [message for _, _, message in link.sent if (BASE, RR_PTR) in [(q.name, q.rrtype) for q in message.questions]]
    assert last[-1].answers == ()


def test_subtypes_are_asked_for_where_known_and_noted_where_heard() -> None:
    link, station = browsing("_ipp._tcp")
    base: Name = (b"_ipp", b"_tcp", b"local")
    name: Name = (b"Printer", *base)
    link.run(0.2)
    assert ((b"_universal", b"_sub", *base), RR_PTR) in asked(link)
    say(station, record((b"_color", b"_sub", *base), Ptr(name), unique=False))
    say(station, record(base, Ptr(name), unique=False), record(name, SRV), record(name, Txt(b"")), ALL[3], ONLY_IPV4)
    say(station, record((b"_print", b"_sub", *base), Ptr(name), unique=False))
    link.run(0.1)
    (found,) = station.querier.known("_ipp._tcp")
    assert found.subtypes == ("_color", "_print")
    assert found.txt == b"\0"
    say(station, record((b"_color", b"_sub", *base), Ptr(name), 0, unique=False))
    link.run(2)
    assert station.querier.known("_ipp._tcp")[0].subtypes == ("_print",)
    assert kinds(station) == [ServiceFound, ServiceChanged]


def test_item_that_breaks_a_rule_is_refused_once_by_name() -> None:
    link, station = browsing()
    bad = (POINTER, record(NAME, Srv(0, 0, 0, HOST)), *ALL[2:])
    for _ in range(3):
        say(station, *bad)
        link.run(1)
    (event,) = station.happened(ServiceRefused)
    assert isinstance(event, ServiceRefused)
    assert "port 0" in event.reason
    say(station, *ALL)
    link.run(1)
    say(station, *bad)
    link.run(1)
    assert kinds(station) == [ServiceRefused, ServiceFound, ServiceLost, ServiceRefused]


@pytest.mark.parametrize("answering", [True, False])
def test_confirmation_asks_the_link_and_not_the_cache(answering: bool) -> None:
    link, station = browsing()
    say(station, *ALL)
    link.run(30)
    mark, started = len(link.sent), link.now
    station.do(station.querier.confirm(TYPE, NAME[0], link.now))
    link.run(GATHER_S)
    assert set(asked(link, mark)) == {(NAME, RR_SRV), (HOST, RR_A), (HOST, RR_AAAA)}
    link.run(0.5)
    if answering:
        say(station, ALL[1])
        assert kinds(station) == [ServiceFound]
        say(station, ALL[3])
        assert kinds(station) == [ServiceFound, Confirmed]
        link.run(10)
        assert kinds(station) == [ServiceFound, Confirmed]
        return
    link.run(10)
    assert kinds(station) == [ServiceFound, Unconfirmed, ServiceLost]
    assert station.events[-1][0] - started == pytest.approx(3.0 + GATHER_S)
    assert asked(link, mark).count((NAME, RR_SRV)) == 3
    assert station.querier.records_cached == 0


def test_confirmation_counts_what_was_heard_just_before() -> None:
    link, station = browsing()
    say(station, *ALL)
    link.run(0.5)
    mark = len(link.sent)
    station.do(station.querier.confirm(TYPE, NAME[0], link.now))
    link.run(GATHER_S)
    assert Confirmed in kinds(station)
    assert not asked(link, mark)


def test_confirmations_that_are_wanted_together_share_their_questions() -> None:
    link = MemoryLink()
    station, other = link.station(), link.station()
    for number in range(10):
        other.register(f"S{number}")
    station.do(station.querier.browse(TYPE, link.now))
    link.run(40)
    mark = len(link.sent)
    for number in range(10):
        station.do(station.querier.confirm(TYPE, b"S%d" % number, link.now))
        link.run(0.002)
    link.run(5)
    assert len(station.happened(Confirmed)) == 10
    assert [sender for _, sender, _ in link.sent[mark:]].count(station) == 1
    assert len(link.sent) - mark <= 3


def test_instance_that_was_given_up_is_found_again_when_it_answers() -> None:
    link, station = browsing()
    announcer = link.station()
    announcer.register("Sleeper")
    link.run(3_000)
    link.drop = lambda _sender, _receiver: True
    station.do(station.querier.confirm(TYPE, b"Sleeper", link.now))
    link.run(3.5)
    assert kinds(station) == [ServiceFound, Unconfirmed, ServiceLost]
    link.drop = lambda _sender, _receiver: False
    link.run(10)
    assert kinds(station)[3:] == [ServiceFound]


def test_goodbye_is_no_confirmation() -> None:
    link, station = browsing()
    say(station, *ALL)
    link.run(0.5)
    station.do(station.querier.confirm(TYPE, NAME[0], link.now))
    say(station, goodbye(ALL[1]), ALL[3])
    link.run(5)
    assert Confirmed not in kinds(station)
    assert Unconfirmed in kinds(station)


def test_instance_that_nobody_browses_can_be_confirmed() -> None:
    link = MemoryLink()
    station = link.station()
    station.do(station.querier.confirm(TYPE, NAME[0], link.now))
    say(station, *ALL)
    link.run(5)
    assert kinds(station) == [Confirmed]
    station.do(station.querier.confirm(TYPE, b"Nobody", link.now))
    link.run(5)
    assert kinds(station) == [Confirmed, Unconfirmed]
    assert station.querier.records_cached == 0


def test_many_confirmations_run_twenty_at_a_time_and_all_end() -> None:
    link = MemoryLink()
    station, other = link.station(), link.station()
    for number in range(50):
        other.register(f"S{number}")
    station.do(station.querier.browse(TYPE, link.now))
    link.run(30)
    for number in range(60):
        station.do(station.querier.confirm(TYPE, b"S%d" % number, link.now))
    link.run(30)
    assert len(station.happened(Confirmed)) == 50
    assert len(station.happened(Unconfirmed)) == 10
    assert station.happened(ServiceLost) == []


def test_types_of_the_link_are_listed() -> None:
    link = MemoryLink()
    station = link.station()
    station.do(station.querier.browse_types(link.now))
    link.run(0.2)
    assert asked(link) == [(ENUMERATION, RR_PTR)]
    say(station, record(ENUMERATION, Ptr(BASE), unique=False))
    say(station, record(ENUMERATION, Ptr((b"strange", b"local")), unique=False))
    link.run(1)
    assert station.querier.known_types() == [TYPE]
    link.run(200)
    assert [event for _, event in station.events] == [TypeFound(TYPE), TypeLost(TYPE)]
    station.querier.stop_browse_types()
    assert station.querier.next_deadline() == float("inf")


def test_stopped_type_leaves_nothing_behind() -> None:
    link, station = browsing("_ipp._tcp")
    base: Name = (b"_ipp", b"_tcp", b"local")
    name: Name = (b"Printer", *base)
    say(station, record((b"_color", b"_sub", *base), Ptr(name), unique=False))
    say(station, record(base, Ptr(name), unique=False), record(name, SRV), ALL[3])
    link.run(0.3)
    station.querier.stop_browse("_ipp._tcp")
    assert station.querier.records_cached == 0
    mark = len(link.sent)
    link.run(500)
    assert len(link.sent) == mark
    assert station.querier.next_deadline() == float("inf")
    say(station, record(base, Ptr(name), unique=False))
    assert station.querier.records_cached == 0


def test_records_that_nobody_asked_about_are_not_kept() -> None:
    link, station = browsing()
    say(station, record((b"x", b"_other", b"_tcp", b"local"), SRV), record(HOST, ADDRESS), record(BASE, Ptr(HOST)))
    assert station.querier.records_cached == 0
    link.run(1)
    assert kinds(station) == []


def test_full_cache_refuses_and_counts() -> None:
    link = MemoryLink()
    querier = Querier(QuerierConfig(records_max=10), Random(1))
    querier.browse(TYPE, link.now)
    pointers = tuple(record(BASE, Ptr((b"S%d" % number, *BASE)), unique=False) for number in range(15))
    querier.receive(MdnsMessage(is_response=True, answers=pointers), link.now)
    assert (querier.records_cached, querier.records_refused) == (10, 5)


def test_queries_begin_anew_after_a_restart() -> None:
    link, station = browsing()
    link.run(1_000)
    mark, restarted = len(link.sent), link.now
    station.do(station.querier.restart(link.now))
    link.run(4)
    assert [round(when - restarted) for when, _, _ in link.sent[mark:]] == [0, 1, 3]


def test_lost_packets_are_made_good() -> None:
    for seed in range(5):
        link = MemoryLink()
        chance = Random(seed)
        link.drop = lambda _sender, _receiver, chance=chance: chance.random() < 0.3  # type: ignore[misc]
        announcer, browser = link.station(), link.station()
        browser.do(browser.querier.browse(TYPE, link.now))
        for number in range(50):
            announcer.register(f"S{number}")
        link.run(60)
        assert len(browser.querier.known(TYPE)) == 50, f"seed {seed}"


def test_bad_types_and_settings_are_refused() -> None:
    querier = Querier(QuerierConfig(), Random(1))
    with pytest.raises(RemoteProtocolError):
        querier.browse("daap", 0.0)
    with pytest.raises(LocalProtocolError):
        QuerierConfig(parallel_max=0)


names = st.sampled_from([BASE, NAME, HOST, ENUMERATION, (b"_x", b"_sub", *BASE), (b"B", *BASE), (b"local",), ()])
datas = st.one_of(
    st.builds(Ptr, names),
    st.builds(Srv, st.just(0), st.just(0), st.integers(0, 2), names),
    st.builds(Txt, st.binary(max_size=3)),
    st.sampled_from([ADDRESS, Address6(ip_address("fe80::1")), ONLY_IPV4.data]),  # type: ignore[arg-type]
)
steps = st.tuples(
    st.sampled_from([0.0, 0.06, 1.0, 30.0, 300.0]),
    st.lists(st.builds(record, names, datas, st.sampled_from([0, 1, 120]), st.booleans()), max_size=4).map(tuple),
    st.sampled_from(["", "", "browse", "stop", "confirm", "types", "stop types", "restart"]),
)


@given(st.lists(steps, max_size=25))
def test_found_and_lost_alternate_whatever_the_link_says(script: list[tuple[float, tuple[Record, ...], str]]) -> None:
    link = MemoryLink()
    station = link.station()
    querier = station.querier
    station.do(querier.browse(TYPE, link.now))
    for wait_s, records, command in script:
        with suppress(LocalProtocolError):
            match command:
                case "browse":
                    station.do(querier.browse(TYPE, link.now))
                case "stop":
                    querier.stop_browse(TYPE)
                    station.events.clear()
                case "confirm":
                    station.do(querier.confirm(TYPE, NAME[0], link.now))
                case "types":
                    station.do(querier.browse_types(link.now))
                case "stop types":
                    querier.stop_browse_types()
                case "restart":
                    station.do(querier.restart(link.now))
        say(station, *records)
        link.run(wait_s)
    shown: dict[bytes, bool] = {}
    for _, event in station.events:
        match event:
            case ServiceFound(item=one):
                assert not shown.get(one.instance)
                shown[one.instance] = True
            case ServiceChanged(item=one):
                assert shown[one.instance]
            case ServiceLost(instance=instance):
                assert shown.get(instance)
                shown[instance] = False
    assert {one.instance for one in querier.known(TYPE)} == {name for name, alive in shown.items() if alive}
    link.run(1_000)
    querier.stop_browse(TYPE)
    querier.stop_browse_types()
    assert querier.records_cached == 0
    assert querier.next_deadline() == float("inf")


@given(
    st.lists(st.tuples(st.builds(record, names, datas, st.sampled_from([0, 1, 120]), st.booleans()), st.floats(0, 60)))
)
def test_cache_counts_what_it_holds(script: list[tuple[Record, float]]) -> None:
    cache, now = Cache(5, Random(1)), 0.0
    for one, wait_s in script:
        cache.put(one, now)
        now += wait_s
        cache.tick(now, lambda _cached: None)
        assert cache.count <= 5
    cache.tick(now + 200, lambda _cached: None)
    cache.tick(now + 400, lambda _cached: None)
    assert cache.count == 0
    assert cache.next_deadline() == float("inf")


def test_queries_of_others_are_not_answers() -> None:
    querier = Querier(QuerierConfig(), Random(1))
    querier.browse(TYPE, 0.0)
    assert querier.receive(MdnsMessage(answers=ALL), 0.0) == []
    assert querier.records_cached == 0
    (effect,) = querier.tick(1.0)
    assert isinstance(effect, SendMulticast)
    assert RR_TXT not in {one.rrtype for one in effect.message.questions}
