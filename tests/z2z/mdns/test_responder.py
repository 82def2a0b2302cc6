from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import pairwise
from random import Random

import pytest

from tests.z2z.mdns.memory_link import MemoryLink, Station, item, registration
from z2z.errors import LocalProtocolError
from z2z.mdns.claims import TRANSITIONS, Claim, ClaimAction, ClaimInput, ClaimState
from z2z.mdns.messages import (
    ENUMERATION,
    RR_A,
    RR_AAAA,
    RR_ANY,
    RR_NSEC,
    RR_PTR,
    RR_SRV,
    RR_TXT,
    Address4,
    Address6,
    Conflict,
    ConflictReason,
    Lost,
    MdnsMessage,
    Name,
    Nsec,
    Ptr,
    Question,
    Record,
    Registered,
    Srv,
    StandingBy,
    Txt,
    as_multicast,
)
from z2z.mdns.responder import Responder
from z2z.mdns.responder_config import ResponderConfig
from z2z.service_item import TXT_MAX

BASE: Name = (b"_daap", b"_tcp", b"local")
NAME: Name = (b"Tom's Music", *BASE)
HOST: Name = (b"z2z-198-51-100-7-office", b"local")
DEVICE = Srv(0, 0, 5000, (b"toms-mac", b"local"))
SAME = Srv(0, 0, 3689, HOST)


def started(**changes: object) -> tuple[MemoryLink, Station]:
    """A station whose service is registered and announced, on a link that is quiet since 5 s."""
    link = MemoryLink()
    station = link.station()
    station.register(**changes)
    link.run(8)
    assert station.happened(Registered)
    link.sent.clear()
    return link, station


def query(*questions: tuple[Name, int], unicast: bool = False, **fields: object) -> MdnsMessage:
    asked = tuple(Question(name=name, rrtype=rrtype, unicast=unicast) for name, rrtype in questions)
    return MdnsMessage(questions=asked, **fields)  # type: ignore[arg-type]


def response(*records: Record) -> MdnsMessage:
    return MdnsMessage(is_response=True, answers=records)


def record(name: Name, data: object, ttl_s: int = 120, unique: bool = True) -> Record:
    return Record(name=name, data=data, ttl_s=ttl_s, unique=unique)  # type: ignore[arg-type]


def said(link: MemoryLink) -> list[Record]:
    return [one for _, _, message in link.sent for one in message.answers]


def test_service_is_probed_three_times_and_announced_twice() -> None:
    link = MemoryLink()
    station = link.station()
    station.register(subtypes=("_jazz",))
    link.run(8)
    probes = [when for when, _, message in link.sent if any(one.name == NAME for one in message.questions)]
    announcements = [when for when, _, message in link.sent if message.is_response]
    assert 0 <= probes[0] - 1_000 <= 0.25
    assert [round(later - sooner, 3) for sooner, later in pairwise(probes)] == [0.25, 0.25]
    assert round(announcements[1] - announcements[0], 3) == 1.0
    assert len(announcements) == 2
    (event,) = station.happened(Registered)
    assert event == Registered(id="Tom's Music", instance=b"Tom's Music")
    assert {(one.name, type(one.data), one.unique) for one in said(link)} == {
        (BASE, Ptr, False),
        ((b"_jazz", b"_sub", *BASE), Ptr, False),
        (ENUMERATION, Ptr, False),
        (NAME, Srv, True),
        (NAME, Txt, True),
        (HOST, Address4, True),
    }
    assert {one.ttl_s for one in said(link)} == {120}


def test_probe_of_an_import_proposes_nothing_that_a_device_could_lose_against() -> None:
    link = MemoryLink()
    link.station().register()
    link.run(8)
    proposed = [one for _, _, message in link.sent for one in message.authorities]
    assert proposed
    assert {one.name for one in proposed} == {HOST}
    assert not any(one.unicast for _, _, message in link.sent for one in message.questions)


def test_import_yields_to_a_device_that_answers_its_probe() -> None:
    link = MemoryLink()
    station = link.station()
    station.register()
    link.run(0.3)
    station.hear(response(record(NAME, DEVICE)), source="192.0.2.9")
    link.run(5)
    (event,) = station.happened(Conflict)
    assert isinstance(event, Conflict)
    assert event.reason is ConflictReason.LOCAL_DEVICE
    assert event.source == "192.0.2.9"
    assert event.seen == (record(NAME, DEVICE),)
    assert not said(link)


def test_import_yields_to_a_device_that_probes_at_the_same_time() -> None:
    link = MemoryLink()
    station = link.station()
    station.register()
    link.run(0.3)
    earlier = Srv(0, 0, 1, (b"a", b"local"))  # would lose the tie-break of the RFC
    station.hear(query((NAME, RR_ANY), authorities=(record(NAME, earlier, unique=False),)))
    link.run(5)
    (event,) = station.happened(Conflict)
    assert isinstance(event, Conflict)
    assert event.reason is ConflictReason.LOCAL_DEVICE


@pytest.mark.parametrize("proposal", [record(NAME, DEVICE, unique=False), record(BASE, Ptr(NAME), unique=False)])
def test_established_import_yields_silently_to_a_late_device(proposal: Record) -> None:
    link, station = started()
    station.hear(query((NAME, RR_ANY), authorities=(proposal,)))
    link.run(5)
    (event,) = station.happened(Lost)
    assert isinstance(event, Lost)
    assert event.reason is ConflictReason.LOCAL_DEVICE
    assert said(link) == []
    station.hear(query((NAME, RR_SRV), (BASE, RR_PTR)))
    link.run(5)
    assert said(link) == []


def test_established_import_yields_to_a_device_that_announces_without_probing() -> None:
    _, station = started()
    station.hear(response(record(NAME, DEVICE)))
    assert [type(event) for _, event in station.events] == [Registered, Lost]


def test_goodbye_of_a_device_is_no_claim() -> None:
    _, station = started()
    station.hear(response(record(NAME, DEVICE, ttl_s=0)))
    assert [type(event) for _, event in station.events] == [Registered]


def test_item_of_another_origin_takes_the_name_from_nobody() -> None:
    link, first = started()
    second = link.station()
    second.register(host=b"z2z-203-0-113-9-lab", port=3690, addresses=(ip_address("203.0.113.9"),))
    link.run(5)
    (event,) = second.happened(Conflict)
    assert isinstance(event, Conflict)
    assert event.reason is ConflictReason.OTHER_IMPORT
    assert [type(one) for _, one in first.events] == [Registered]


@pytest.mark.parametrize("same", [True, False])
def test_of_two_importers_that_start_together_exactly_one_serves(same: bool) -> None:
    for seed in range(10):
        link = MemoryLink()
        link.now += seed
        stations = [link.station(), link.station()]
        stations[0].register()
        stations[1].register(host=HOST[0] if same else b"z2z-203-0-113-9-lab", port=3689 if same else 3690)
        link.run(20)
        serving = [one for one in stations if isinstance(one.events[-1][1], Registered)]
        assert len(serving) == 1
        assert all(isinstance(one.events[-1][1], StandingBy) for one in stations if one not in serving) is same


def test_two_importers_that_meet_after_a_partition_settle_for_one() -> None:
    link = MemoryLink()
    link.drop = lambda _sender, _receiver: True
    stations = [link.station(), link.station()]
    for station in stations:
        station.register()
    link.run(10)
    assert all(isinstance(one.events[-1][1], Registered) for one in stations)
    link.drop = lambda _sender, _receiver: False
    stations[0].hear(query((NAME, RR_SRV)))
    stations[1].hear(query((NAME, RR_SRV)))
    link.run(10)
    assert [type(one.events[-1][1]) for one in stations] == [StandingBy, Registered]


def test_importers_seen_by_both_families_compare_by_one_only() -> None:
    _, station = started()
    station.responder.set_addresses(IPv4Address("192.0.2.1"), IPv6Address("fe80::1"))
    station.hear(response(record(NAME, SAME)), source="fe80::ffff%eth0")
    assert not station.happened(StandingBy)
    station.responder.set_addresses(None, IPv6Address("fe80::1"))
    station.hear(response(record(NAME, SAME)), source="fe80::ffff%eth0")
    assert station.happened(StandingBy)


def test_probes_for_one_host_name_are_decided_by_the_later_data() -> None:
    link = MemoryLink()
    low, high = link.station(), link.station()
    low.register("Low", addresses=(ip_address("198.51.100.7"),))
    high.register("High", addresses=(ip_address("198.51.100.8"),))
    link.run(10)
    assert [type(event) for _, event in high.events] == [Registered]
    (event,) = low.happened(Conflict)
    assert isinstance(event, Conflict)
    assert event.reason is ConflictReason.HOST_TAKEN


def test_services_of_one_host_share_its_probes_and_addresses() -> None:
    link = MemoryLink()
    station = link.station()
    station.register("One")
    station.register("Two", addresses=(ip_address("198.51.100.7"), ip_address("2001:db8::7")))
    link.run(8)
    assert len(station.happened(Registered)) == 2
    link.sent.clear()
    station.do(station.responder.withdraw("Two", link.now))
    assert {one.data for one in said(link)} >= {Address6(IPv6Address("2001:db8::7"))}
    assert Address4(IPv4Address("198.51.100.7")) not in {one.data for one in said(link)}


def test_a_name_registered_twice_here_is_a_conflict() -> None:
    _, station = started()
    again = registration()
    station.do(station.responder.register(type(again)(id=2, item=again.item, host_label=b"z2z-x", ttl_s=60), 1_010.0))
    (event,) = station.happened(Conflict)
    assert isinstance(event, Conflict)
    assert (event.id, event.reason, event.source) == (2, ConflictReason.OTHER_IMPORT, "")


def test_withdrawal_says_goodbye_for_every_record_once() -> None:
    link, station = started(subtypes=("_jazz",))
    station.do(station.responder.withdraw("Tom's Music", link.now))
    link.run(5)
    assert len(said(link)) == 6
    assert {one.ttl_s for one in said(link)} == {0}
    assert {type(one.data) for one in said(link) if one.unique} == {Srv, Txt}
    station.do(station.responder.withdraw("Tom's Music", link.now))
    assert len(said(link)) == 6


def test_withdrawal_before_the_announcement_is_silent() -> None:
    link = MemoryLink()
    station = link.station()
    station.register()
    link.run(0.4)
    link.sent.clear()
    station.do(station.responder.withdraw("Tom's Music", link.now))
    link.run(5)
    assert link.sent == []


def test_shutdown_says_goodbye_for_all_with_pointers_first() -> None:
    link = MemoryLink()
    station = link.station()
    for number in range(5):
        station.register(f"Service {number}")
    link.run(8)
    link.sent.clear()
    station.do(station.responder.shutdown(link.now))
    kinds = [isinstance(one.data, Ptr) for one in said(link)]
    assert kinds == sorted(kinds, reverse=True)
    assert sum(kinds) == 6
    assert not any(one.unique for one in said(link))
    assert station.responder.next_deadline() == float("inf")


def test_update_announces_the_new_data_and_takes_back_what_went() -> None:
    link, station = started(subtypes=("_jazz",))
    station.do(station.responder.update("Tom's Music", item(port=4000, txt=b"\x01x"), link.now))
    link.run(5)
    goodbyes = [one for one in said(link) if one.ttl_s == 0]
    assert [one.name[0] for one in goodbyes] == [b"_jazz"]
    assert {one.data for one in said(link) if one.name == NAME} == {Srv(0, 0, 4000, HOST), Txt(b"\x01x")}
    assert station.responder.update("nobody", item(), link.now) == []
    with pytest.raises(LocalProtocolError):
        station.responder.update("Tom's Music", item("Other"), link.now)


def test_update_with_the_same_data_says_nothing() -> None:
    link, station = started()
    assert station.responder.update("Tom's Music", item(), link.now) == []
    link.run(5)
    assert link.sent == []


def test_shared_answers_wait_a_little_and_bring_what_is_asked_next() -> None:
    link, station = started()
    asked_at = link.now
    station.hear(query((BASE, RR_PTR)))
    link.run(5)
    ((when, _, message),) = link.sent
    assert 0.020 <= when - asked_at <= 0.120
    assert [one.name for one in message.answers] == [BASE]
    assert {type(one.data) for one in message.additionals} == {Srv, Txt, Address4, Nsec}


def test_unique_answers_do_not_wait() -> None:
    link, station = started()
    station.hear(query((NAME, RR_SRV)))
    ((_, _, message),) = link.sent
    assert [type(one.data) for one in message.answers] == [Srv]
    assert [type(one.data) for one in message.additionals] == [Address4, Nsec]


def test_a_question_among_others_that_we_cannot_answer_waits_a_little() -> None:
    link, station = started()
    asked_at = link.now
    station.hear(query((NAME, RR_SRV), ((b"stranger", b"local"), RR_A)))
    assert link.sent == []
    link.run(1)
    ((when, _, message),) = link.sent
    assert 0.020 <= when - asked_at <= 0.120
    assert [one.data for one in message.answers] == [SAME]


def test_several_questions_that_only_we_can_answer_do_not_wait() -> None:
    link, station = started()
    station.hear(query((NAME, RR_SRV), (HOST, RR_A)))
    ((_, _, message),) = link.sent
    assert {type(one.data) for one in message.answers} == {Srv, Address4}


def test_addresses_of_the_other_family_or_their_absence_go_with_an_address() -> None:
    link, station = started()
    station.hear(query((HOST, RR_A)))
    assert [one.data for one in link.sent[-1][2].additionals] == [Nsec(HOST, (RR_A,))]
    both = (ip_address("198.51.100.7"), ip_address("2001:db8::7"))
    link, station = started(addresses=both)
    station.hear(query((HOST, RR_A)))
    assert [one.data for one in link.sent[-1][2].additionals] == [Address6(IPv6Address("2001:db8::7"))]


def test_answers_to_two_queries_share_a_packet() -> None:
    link, station = started(subtypes=("_jazz",))
    station.hear(query((BASE, RR_PTR)))
    station.hear(query(((b"_jazz", b"_sub", *BASE), RR_PTR)))
    link.run(1)
    assert len(said(link)) == 2
    assert len(link.sent) <= 2
    link.sent.clear()
    station.hear(query((BASE, RR_PTR)))
    link.run(0.8)
    station.hear(query((BASE, RR_PTR)))  # waits for a second to be over
    station.hear(query(((b"_jazz", b"_sub", *BASE), RR_PTR)))
    link.run(3)
    assert [len(message.answers) for _, _, message in link.sent] == [1, 2]


def test_names_are_found_in_any_case() -> None:
    link, station = started()
    station.hear(query(((b"TOM'S MUSIC", b"_DAAP", b"_TCP", b"LOCAL"), RR_TXT)))
    assert [one.name for one in said(link)] == [NAME]


def test_enumeration_and_subtypes_are_answered() -> None:
    link, station = started(subtypes=("_jazz",))
    station.hear(query((ENUMERATION, RR_PTR), ((b"_jazz", b"_sub", *BASE), RR_PTR)))
    link.run(1)
    assert {one.data for one in said(link)} == {Ptr(BASE), Ptr(NAME)}


@pytest.mark.parametrize(("ttl_s", "answered"), [(60, False), (59, True), (120, False)])
def test_known_answers_are_left_out_while_half_their_life_is_left(ttl_s: int, answered: bool) -> None:
    link, station = started()
    station.hear(query((BASE, RR_PTR), answers=(record(BASE, Ptr(NAME), ttl_s, unique=False),)))
    link.run(5)
    assert bool(said(link)) is answered


def test_truncated_query_waits_for_its_further_known_answers() -> None:
    link, station = started()
    station.hear(query((BASE, RR_PTR), truncated=True))
    link.run(0.2)
    station.hear(query(answers=(record(BASE, Ptr(NAME), unique=False),)))
    link.run(5)
    assert link.sent == []
    asked_at = link.now
    station.hear(query((BASE, RR_PTR), truncated=True))
    link.run(5)
    assert 0.400 <= link.sent[0][0] - asked_at <= 0.500


def test_every_truncated_part_gives_more_time_up_to_a_limit() -> None:
    link, station = started()
    asked_at = link.now
    station.hear(query((BASE, RR_PTR), truncated=True))
    for _ in range(2):
        link.run(0.350)
        station.hear(query(truncated=True))
    link.run(3)
    assert 1.100 <= link.sent[0][0] - asked_at <= 1.200
    link.sent.clear()
    asked_at = link.now
    station.hear(query((BASE, RR_PTR), truncated=True))
    while not link.sent and link.now < asked_at + 10:
        link.run(0.1)
        station.hear(query(truncated=True))
    assert 4.9 <= link.sent[0][0] - asked_at <= 5.1


def test_answer_that_another_host_gives_first_is_not_repeated() -> None:
    link, station = started()
    station.hear(query((BASE, RR_PTR)))
    station.hear(response(record(BASE, Ptr(NAME), unique=False)))
    link.run(5)
    assert link.sent == []


def test_goodbye_of_another_host_for_a_record_of_ours_is_put_right() -> None:
    link, station = started()
    station.hear(response(record(BASE, Ptr(NAME), 0, unique=False)))
    link.run(5)
    assert [(one.name, one.ttl_s) for one in said(link)] == [(BASE, 120)]


def test_a_record_is_multicast_once_a_second() -> None:
    link, station = started()
    for _ in range(40):
        station.hear(query((NAME, RR_SRV), (BASE, RR_PTR)))
        link.run(0.1)
    link.run(3)
    times = [when for when, _, message in link.sent if any(one.name == NAME for one in message.answers)]
    assert len(times) <= 6
    assert all(later - sooner >= 0.999 for sooner, later in pairwise(times))


def test_probe_of_another_importer_is_answered_sooner_than_that() -> None:
    link, station = started()
    probe = query((NAME, RR_ANY), authorities=(record(NAME, Srv(0, 0, 1, HOST), unique=False),))
    for _ in range(2):
        station.hear(probe)
        link.run(0.26)
    assert sum(isinstance(one.data, Srv) for one in said(link)) == 2


def test_missing_types_of_our_names_are_denied() -> None:
    link, station = started()
    station.hear(query((HOST, RR_AAAA)))
    station.hear(query((NAME, RR_A)))
    assert [one.data for one in said(link)] == [Nsec(HOST, (RR_A,)), Nsec(NAME, (RR_TXT, RR_SRV))]
    station.hear(query((BASE, RR_TXT), ((b"stranger", b"local"), RR_A)))
    link.run(2)
    assert len(said(link)) == 2


def test_unicast_is_given_to_who_asks_for_it_unless_caches_need_refreshing() -> None:
    link, station = started()
    station.hear(query((NAME, RR_SRV), unicast=True), source="192.0.2.77")
    ((to, port, message),) = station.unicast
    assert (to, port, message.answers[0].data) == ("192.0.2.77", 5353, SAME)
    assert link.sent == []
    link.run(40)
    station.hear(query((NAME, RR_SRV), unicast=True))
    assert [one.data for one in said(link)] == [SAME]
    assert len(station.unicast) == 1


def test_probe_that_asks_for_unicast_gets_it_even_when_caches_need_refreshing() -> None:
    link, station = started()
    link.run(40)
    probe = query((HOST, RR_ANY), unicast=True, authorities=(record(HOST, Address4(IPv4Address("192.0.2.9"))),))
    station.hear(probe, source="192.0.2.77")
    ((to, _, message),) = station.unicast
    assert to == "192.0.2.77"
    assert message.answers == tuple(said(link))


def test_unicast_answers_that_others_may_give_too_wait_and_forget_what_goes_meanwhile() -> None:
    link, station = started()
    station.hear(query((BASE, RR_PTR), unicast=True))
    assert station.unicast == []
    link.run(0.15)
    assert len(station.unicast) == 1
    station.hear(query((BASE, RR_PTR), unicast=True))
    station.do(station.responder.withdraw("Tom's Music", link.now))
    link.run(0.15)
    assert len(station.unicast) == 1


def test_responses_from_another_port_are_ignored() -> None:
    link, station = started()
    station.hear(response(record(NAME, DEVICE)), port=40_000)
    station.hear(response(record(BASE, Ptr(NAME), 0, unique=False)), port=40_000)
    link.run(2)
    assert [type(event) for _, event in station.events] == [Registered]
    assert link.sent == []


def test_plain_resolver_learns_that_a_name_of_ours_lacks_a_type() -> None:
    _, station = started()
    station.hear(query((HOST, RR_AAAA), id=78), port=40_000, source="192.0.2.77")
    ((to, _, message),) = station.unicast
    assert (to, message.id, message.answers, message.additionals) == ("192.0.2.77", 78, (), ())


def test_a_query_from_elsewhere_is_taken_as_one_for_multicast_answers() -> None:
    asked = query((NAME, RR_SRV), unicast=True)
    assert as_multicast(asked) == query((NAME, RR_SRV))
    assert as_multicast(query((NAME, RR_SRV))) == query((NAME, RR_SRV))


def test_a_service_that_changes_all_the_time_is_announced_ten_times_a_minute() -> None:
    link, station = started()
    started_at = link.now
    for number in range(1, 101):
        station.do(station.responder.update("Tom's Music", item(port=number), link.now))
        link.run(0.5)
    announced = {one.data.port for one in said(link) if isinstance(one.data, Srv)}
    assert announced == set(range(1, 11))
    link.run(started_at + 63 - link.now)
    last = [one.data.port for one in said(link) if isinstance(one.data, Srv)][-1]
    assert last == 100
    station.hear(query((NAME, RR_SRV)))
    assert len(said(link)) < 60


def test_services_of_one_host_that_come_one_by_one_do_not_repeat_its_address_within_a_second() -> None:
    link = MemoryLink()
    station = link.station()
    for name in ("One", "Two", "Three"):
        station.register(name)
        link.run(0.4)
    link.run(5)
    for wanted in (HOST, ENUMERATION):
        times = [when for when, _, message in link.sent if any(one.name == wanted for one in message.answers)]
        assert len(times) >= 2
        assert all(later - sooner >= 0.999 for sooner, later in pairwise(times))


def test_plain_resolver_gets_its_id_its_question_and_short_lifetimes() -> None:
    link, station = started()
    asked = query((BASE, RR_PTR), (HOST, RR_AAAA), id=77)
    station.hear(asked, port=40_000, source="192.0.2.77")
    link.run(2)
    ((to, port, message),) = station.unicast
    assert (to, port, message.id, message.questions) == ("192.0.2.77", 40_000, 77, asked.questions)
    records = (*message.answers, *message.additionals)
    assert {one.ttl_s for one in records} == {10}
    assert not any(one.unique or one.data.rrtype == RR_NSEC for one in records)
    assert link.sent == []
    station.hear(query(((b"stranger", b"local"), RR_A)), port=40_000)
    assert len(station.unicast) == 1


def test_restart_probes_and_announces_again_without_a_second_event() -> None:
    link, station = started()
    station.do(station.responder.restart(link.now))
    station.hear(query((NAME, RR_SRV)))
    assert said(link) == []
    link.run(5)
    assert sum(any(one.name == NAME for one in message.questions) for _, _, message in link.sent) == 3
    assert len(station.happened(Registered)) == 1
    station.do(station.responder.restart(link.now))
    station.hear(response(record(NAME, DEVICE)))
    assert [type(event) for _, event in station.events] == [Registered, Lost]


def test_budget_delays_announcements_and_drops_late_answers() -> None:
    link = MemoryLink()
    station = link.station(packets_per_minute=60, burst=10)
    for number in range(100):
        station.register(f"Service {number}")
    link.run(240)
    assert len(station.happened(Registered)) == 100
    assert len(link.sent) <= 10 + 240
    for _ in range(30):
        station.hear(query((BASE, RR_PTR)))
        link.run(1)
    assert station.responder.outbox.drops > 0
    assert len(link.sent) <= 10 + 240 + 31


def test_a_thousand_services_become_visible_within_seconds() -> None:
    link = MemoryLink()
    station, browser = link.station(), link.station()
    browser.do(browser.querier.browse("_daap._tcp", link.now))
    for number in range(1_000):
        station.register(f"Service {number}")
    link.run(30)
    assert len(station.happened(Registered)) == 1_000
    assert len(browser.querier.known("_daap._tcp")) == 1_000
    assert max(when for when, event in browser.events) < 1_010
    with pytest.raises(LocalProtocolError):
        station.register("One too many")


@pytest.mark.parametrize(
    ("host", "changes"),
    [
        (b"", {}),
        (b"x" * 64, {}),
        (b"x", {"addresses": ()}),
    ],
)
def test_what_cannot_be_published_is_refused(host: bytes, changes: dict[str, object]) -> None:
    responder = Responder(ResponderConfig(), Random(1))
    with pytest.raises(LocalProtocolError):
        responder.register(registration("x" * 63, host, **changes), 0.0)
    assert responder.next_deadline() == float("inf")


def test_the_largest_item_is_carried_by_a_multicast_answer() -> None:
    link = MemoryLink()
    station, browser = link.station(), link.station()
    service_type, txt = "_abcdefghijklmno._tcp", (b"\xff" + b"x" * 255) * 34 + b"\x5f" + b"x" * 95
    assert len(txt) == TXT_MAX
    browser.do(browser.querier.browse(service_type, link.now))
    station.register("x" * 63, b"h" * 63, service_type=service_type, txt=txt)
    link.run(5)
    (found,) = browser.querier.known(service_type)
    assert found.txt == txt


def test_settings_are_checked() -> None:
    with pytest.raises(LocalProtocolError):
        ResponderConfig(burst=0)


@pytest.mark.parametrize("state", ClaimState)
@pytest.mark.parametrize("happening", ClaimInput)
def test_claims_take_the_steps_of_the_table_and_no_other(state: ClaimState, happening: ClaimInput) -> None:
    claim = Claim(NAME, is_host=False)
    claim.state = state
    if (state, happening) not in TRANSITIONS:
        with pytest.raises(KeyError):
            claim.step(happening)
        assert claim.state is state
        return
    action = claim.step(happening)
    assert (claim.state, action) == TRANSITIONS[state, happening]
    assert claim.is_held is (action is ClaimAction.HOLD)
