"""What a get costs, and what it does where its question cannot ride."""

from typing import Any

import pytest

from mdht.messages import Get
from mdht.subnet.face_messages import Asked
from tests.mdht.keeping.records_network import OVERLAYS, RecordsNetwork, key_of, record


def questions(world: RecordsNetwork) -> list[Get]:
    """Those that hosts ask outside of lookups from now on."""
    asked: list[Get] = []

    def on_sent(_host: Any, message: Any, _header: Any) -> None:
        body = getattr(message, "body", None)
        if isinstance(body, Asked) and isinstance(body.question, Get):
            asked.append(body.question)

    world.net.on_sent = on_sent
    return asked


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_question_rides_on_the_lookup_where_the_protocol_can_carry_it(overlay: str) -> None:
    world = RecordsNetwork([1] * 12, overlay=overlay)
    world.put(world.hosts(0)[0], record(1))
    world.net.run(2.0)
    asked = questions(world)
    for host in list(world.net.hosts.values()):
        assert world.found(host, key_of(1)) == {(b"w" * 32, b""): 1}
    assert bool(asked) is (overlay == "chord")


def test_who_is_found_and_does_not_hold_it_himself_is_asked_for_it() -> None:
    world = RecordsNetwork([5, 5, 5])
    world.put(world.hosts(0)[0], record(1))
    world.net.run(5.0)
    assert all(len(numbers) == 3 for numbers in world.holders(key_of(1)).values()), "two of five hosts hold nothing"
    asked = questions(world)
    for host in list(world.net.hosts.values()):
        assert world.found(host, key_of(1)) == {(b"w" * 32, b""): 1}
    assert asked


def test_a_record_that_is_too_large_to_ride_is_found_all_the_same() -> None:
    world = RecordsNetwork([1] * 10)
    world.put(world.hosts(0)[0], record(1, value=bytes(720)))
    world.net.run(2.0)
    for host in list(world.net.hosts.values()):
        assert world.found(host, key_of(1)) == {(b"w" * 32, b""): 1}


def test_what_does_not_fit_beside_the_contacts_is_fetched_page_by_page() -> None:
    world = RecordsNetwork([1] * 6)
    for number in range(12):
        world.put(world.hosts(0)[0], record(1, name=b"%d" % number, value=bytes(300)))
    world.net.run(2.0)
    for host in list(world.net.hosts.values()):
        assert len(world.found(host, key_of(1))) == 12
