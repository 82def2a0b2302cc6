from ipaddress import ip_address
from itertools import product
from random import Random

import pytest

from tests.z2z.mdns.memory_link import MemoryLink, Station, item
from z2z.mdns.messages import (
    RR_PTR,
    RR_SRV,
    Conflict,
    ConflictReason,
    MdnsMessage,
    Name,
    Ptr,
    Question,
    Record,
    Registered,
    SendMulticast,
    ServiceFound,
    Srv,
    StandingBy,
)
from z2z.mdns.standby import ANSWER_S, CHECK_S, JITTER_S, TAKEN_BACK_S, TRANSITIONS, Happening, Standby, Watch

TYPE = "_daap._tcp"
BASE: Name = (b"_daap", b"_tcp", b"local")
NAME: Name = (b"Tom's Music", *BASE)
HOST: Name = (b"z2z-198-51-100-7-office", b"local")
SRV = Record(name=NAME, data=Srv(0, 0, 3689, HOST), ttl_s=30)
DETECTED_S = CHECK_S + 2 * ANSWER_S + 3 * JITTER_S
"Until a name that is asked for in turn is taken over."


def standing(*stations: Station) -> list[str]:
    """What each station last heard of its registration."""
    return [type(station.events[-1][1]).__name__ for station in stations]


def three_importers(*names: str, **changes: object) -> tuple[MemoryLink, list[Station], Station]:
    """Importers of the same items, the first of which serves, and a browser that has found them all."""
    link = MemoryLink()
    importers = [link.station() for _ in range(3)]
    browser = link.station()
    browser.do(browser.querier.browse(TYPE, link.now))
    for station in importers:
        for name in names or ("Tom's Music",):
            station.register(name, **changes)
        link.run(5)
    link.run(3)
    assert standing(*importers) == ["Registered", "StandingBy", "StandingBy"]
    return link, importers, browser


def kill(link: MemoryLink, station: Station) -> None:
    link.stations.remove(station)


def watched(state: Watch, now: float = 0.0) -> Standby:
    core = Standby(Random(1))
    core.watch(NAME, "192.0.2.1", now)
    core._watched[NAME_KEY].state = state
    core._timers.cancel("check")
    return core


NAME_KEY: Name = (b"tom's music", *BASE)


@pytest.mark.parametrize(("state", "what"), list(product(Watch, Happening)))
def test_every_pair_does_what_the_table_says(state: Watch, what: Happening) -> None:
    core = watched(state)
    core._step(NAME_KEY, what, 100.0)
    questions, taken_over = core.tick(100.0)
    then, action = TRANSITIONS.get((state, what), (state, None))
    assert (taken_over == [NAME_KEY]) == (action is not None and action.name == "TAKE_OVER")
    assert bool(questions) == (action is not None and action.name == "ASK")
    if not taken_over:
        assert core._watched[NAME_KEY].state is then


def test_a_clean_end_of_the_one_that_serves_is_no_loss_for_a_browser() -> None:
    for seed in range(10):
        link, importers, browser = three_importers()
        link.run(seed * 3.7)
        importers[0].do(importers[0].responder.shutdown(link.now))
        kill(link, importers[0])
        link.run(60)
        assert sorted(standing(*importers[1:])) == ["Registered", "StandingBy"]
        assert [type(event) for _, event in browser.events] == [ServiceFound]


@pytest.mark.parametrize("browsing", [True, False])
def test_a_killed_importer_is_replaced_before_its_records_run_out(browsing: bool) -> None:
    for seed in range(10):
        link, importers, browser = three_importers("One", "Two", "Three")
        if not browsing:
            kill(link, browser)
        link.run(seed * 3.7)
        kill(link, importers[0])
        killed_at = link.now
        link.run(130)
        serving = [station for station in importers[1:] if len(station.happened(Registered)) == 3]
        assert len(serving) == 1
        assert sorted(standing(*importers[1:])) == ["Registered", "StandingBy"]
        assert serving[0].events[-1][0] - killed_at < DETECTED_S + ANSWER_S + JITTER_S
        assert [type(event) for _, event in browser.events] == [ServiceFound] * 3


def test_a_question_that_nobody_answers_is_the_first_sign_of_a_death() -> None:
    link, importers, _ = three_importers()
    link.run(2)
    kill(link, importers[0])
    asker = link.station()
    query = MdnsMessage(questions=(Question(name=BASE, rrtype=RR_PTR),))
    asker.do([SendMulticast(query)])
    asked_at = link.now
    link.run(3)
    assert "Registered" in standing(*importers[1:])
    taken_over_at = max(station.events[-1][0] for station in importers[1:])
    assert taken_over_at - asked_at < 2 * (ANSWER_S + JITTER_S) + 0.1


def test_what_its_exporter_took_back_is_not_shown_again_by_those_who_have_not_heard_so() -> None:
    link, importers, browser = three_importers()
    importers[0].do(importers[0].responder.withdraw("Tom's Music", link.now))
    gone_at = link.now
    link.run(2)
    assert standing(*importers[1:]) == ["StandingBy", "StandingBy"]
    assert [type(event).__name__ for _, event in browser.events] == ["ServiceFound", "ServiceLost"]
    for station in importers[1:]:
        station.do(station.responder.withdraw("Tom's Music", link.now))
    link.sent.clear()
    link.run(60)
    assert not [message for _, _, message in link.sent if message.is_response]
    assert browser.events[-1][0] - gone_at < 1.1


def test_what_only_the_one_that_serves_gives_up_is_shown_again_after_a_while() -> None:
    link, importers, _ = three_importers()
    importers[0].do(importers[0].responder.withdraw("Tom's Music", link.now))
    link.run(TAKEN_BACK_S - 1)
    assert standing(*importers[1:]) == ["StandingBy", "StandingBy"]
    link.run(10)
    assert sorted(standing(*importers[1:])) == ["Registered", "StandingBy"]


def test_while_the_one_that_serves_lives_it_costs_two_packets_every_ten_seconds_however_many_stand_by() -> None:
    link, importers, browser = three_importers(*(f"Service {number}" for number in range(40)))
    kill(link, browser)
    link.run(20)
    link.sent.clear()
    link.run(200)
    assert standing(*importers) == ["Registered", "StandingBy", "StandingBy"]
    assert len(link.sent) <= 2 * 2 * 200 / CHECK_S


def test_of_a_name_that_is_served_no_more_without_a_goodbye_only_that_name_is_taken_over() -> None:
    link, importers, _ = three_importers("One", "Two", "Three")
    importers[0].responder.withdraw("Two", link.now)  # nobody hears it
    link.run(200)
    assert {event.id for station in importers[1:] for event in station.happened(Registered)} == {"Two"}


def test_a_device_that_wants_the_name_gets_it_from_all() -> None:
    link, importers, _ = three_importers()
    device = Srv(0, 0, 5000, (b"toms-mac", b"local"))
    claim = MdnsMessage(
        questions=(Question(name=NAME, rrtype=255),),
        authorities=(Record(name=NAME, data=device, ttl_s=120),),
    )
    link.sent.clear()
    for station in importers:
        station.hear(claim)
    link.run(60)
    for station in importers:
        (event,) = (each for _, each in station.events[-1:])
        assert event.reason is ConflictReason.LOCAL_DEVICE  # type: ignore[attr-defined]
    assert isinstance(importers[1].events[-1][1], Conflict)
    assert not [message for _, _, message in link.sent if message.is_response]


def test_other_data_of_the_same_service_do_not_end_the_standby() -> None:
    link, importers, _ = three_importers()
    for number, station in enumerate(importers):
        station.do(station.responder.update("Tom's Music", item(port=4000, txt=b"\x01x"), link.now))
        link.run(number + 1)
    link.run(20)
    assert standing(*importers) == ["Registered", "StandingBy", "StandingBy"]
    importers[0].do(importers[0].responder.shutdown(link.now))
    link.sent.clear()
    link.run(2)
    said = {one.data for _, _, message in link.sent for one in message.answers if isinstance(one.data, Srv)}
    assert said == {Srv(0, 0, 4000, HOST)}


def test_another_service_under_the_name_ends_the_standby() -> None:
    link, importers, _ = three_importers()
    other = Record(name=NAME, data=Srv(0, 0, 1, (b"z2z-203-0-113-9-lab", b"local")), ttl_s=30, unique=True)
    importers[1].hear(MdnsMessage(is_response=True, answers=(other,)))
    link.run(1)
    (event,) = importers[1].happened(Conflict)
    assert event.reason is ConflictReason.OTHER_IMPORT  # type: ignore[attr-defined]


def test_a_restart_of_the_interface_begins_anew_and_ends_in_standby() -> None:
    link, importers, browser = three_importers()
    importers[1].do(importers[1].responder.restart(link.now))
    link.run(20)
    assert standing(*importers) == ["Registered", "StandingBy", "StandingBy"]
    assert len(importers[1].happened(StandingBy)) == 2
    assert [type(event) for _, event in browser.events] == [ServiceFound]


def test_questions_that_need_no_answer_on_the_link_raise_no_doubt() -> None:
    known = (Record(name=BASE, data=Ptr(NAME), ttl_s=20),)
    for message in (
        MdnsMessage(questions=(Question(name=BASE, rrtype=RR_PTR, unicast=True),)),
        MdnsMessage(questions=(Question(name=BASE, rrtype=RR_PTR),), answers=known),
        MdnsMessage(questions=(Question(name=BASE, rrtype=RR_PTR),), truncated=True),
        MdnsMessage(questions=(Question(name=HOST, rrtype=RR_SRV),)),
    ):
        core = watched(Watch.SERVED)
        core.asked(message, 100.0)
        assert core._watched[NAME_KEY].state is Watch.SERVED
    core.asked(MdnsMessage(questions=(Question(name=BASE, rrtype=RR_PTR),)), 100.0)
    assert core._watched[NAME_KEY].state is Watch.EXPECTED
    core = watched(Watch.SERVED, now=99.5)  # whoever has just said it need not say it again
    core.asked(MdnsMessage(questions=(Question(name=BASE, rrtype=RR_PTR),)), 100.0)
    assert core._watched[NAME_KEY].state is Watch.SERVED


def test_addresses_of_the_other_importer_are_bounded() -> None:
    core = watched(Watch.SERVED)
    for number in range(100):
        core.hear(MdnsMessage(is_response=True, answers=(SRV,)), f"fe80::{number:x}", 1.0)
    assert list(core._watched[NAME_KEY].sources) == [f"fe80::{number:x}" for number in (96, 97, 98, 99)]


def test_two_importers_by_different_sites_names_of_one_host_are_told_apart_by_port() -> None:
    link = MemoryLink()
    first, second = link.station(), link.station()
    first.register()
    link.run(5)
    second.register(host=b"z2z-198-51-100-7-lab", addresses=(ip_address("198.51.100.7"),))
    link.run(5)
    assert standing(second) == ["StandingBy"]
    third = link.station()
    third.register(host=b"z2z-198-51-100-7-lab", port=1)
    link.run(5)
    assert third.happened(Conflict)
