"""What a node tells others about its records, and what it refuses."""

from typing import Any

import msgspec
import pytest

from dhtboot.ids import NodeRef
from mdht.errors import RefusalCode
from mdht.experiments.sim_host import SimHost
from mdht.keeping.answering import BUSY_S
from mdht.keeping.config import KeepingConfig
from mdht.keeping.put import refusal_of
from mdht.messages import Get, Got, Listen, Listening, Offer, Put, Stored, Wanted
from mdht.records import Copy
from mdht.subnet.face_asked import AskedBy
from mdht.subnet.face_messages import RIDING_ROOM, Told
from mdht.subnet.face_nodes import contact
from mdht.subnet.push import Peer
from mdht.wire import copy_bytes
from tests.mdht.keeping.records_network import RecordsNetwork, key_of, record

ALONE = KeepingConfig()


class Asked:
    """A network of one link, and questions to its first host from hosts that are nowhere."""

    def __init__(self, size: int = 1, keeping: KeepingConfig = ALONE) -> None:
        self.world = RecordsNetwork([size], keeping=keeping)
        self.host: SimHost = self.world.hosts(0)[0]
        self._number = 0

    def ask(self, question: Any, host: int = 1, wait_s: float = 0.5) -> Any:
        """The answer; None where there is none."""
        self._number += 1
        keeper = self.world.keeper(self.host)
        node: NodeRef = contact(5)
        asker = AskedBy(node, Peer(5, bytes(8), (f"10.9.9.{host}", 27183)), self._number)
        answers: list[Any] = []
        send_away = self.world.net._send_away

        def caught(to: Any, packet: Any, source: Any) -> None:
            body = getattr(packet, "body", None)  # the bootstrap server's packets have none
            if isinstance(body, Told) and body.number == self._number:
                answers.append(body.answer)
            else:
                send_away(to, packet, source)

        self.world.net._send_away = caught  # type: ignore[method-assign]
        keeper.answering.on_question(question, asker, self.world.net.now)
        self.world.perform(self.host)
        self.world.net.run(wait_s)
        self.world.net._send_away = send_away  # type: ignore[method-assign]
        assert len(answers) <= 1
        return answers[0] if answers else None


@pytest.mark.parametrize("size", [1, 5])
def test_a_page_answers_with_count_and_digest_whichever_host_is_asked(size: int) -> None:
    asked = Asked(size)
    for number in range(10):
        asked.world.put(asked.world.hosts(0)[number % size], record(1, name=b"%d" % number, value=bytes(300)), acks=1)
    asked.world.net.run(5.0)
    answers = []
    for host in asked.world.hosts(0):
        asked.host = host
        first = asked.ask(Get(key_of(1)))
        assert (first.count, len(first.copies), first.partial) == (10, 2, False)
        assert len(asked.ask(Get(key_of(1), 9)).copies) == 1
        assert asked.ask(Get(key_of(1), 99)) == Got((), 10, first.digest)
        assert asked.ask(Get(key_of(1), -5)).copies[0].record == first.copies[0].record
        answers.append(first.digest)
    assert len(set(answers)) == 1


def test_what_rides_on_a_lookup_is_answered_by_whom_holds_it_with_what_has_room_there() -> None:
    asked = Asked()
    keeper = asked.world.keeper(asked.host)
    assert keeper.answering.on_riding(Get(key_of(1)), asked.world.net.now) is None
    for number in range(5):
        asked.world.put(asked.host, record(1, name=b"%d" % number, value=bytes(100)), acks=1)
    whole = asked.ask(Get(key_of(1)))
    answer = keeper.answering.on_riding(Get(key_of(1)), asked.world.net.now)
    assert answer is not None
    assert (answer.count, answer.digest) == (5, whole.digest)
    assert 0 < len(answer.copies) < 5
    assert sum(map(copy_bytes, answer.copies)) <= RIDING_ROOM
    assert keeper.answering.on_riding(Get(b"short"), asked.world.net.now) is None
    asked.world.put(asked.host, record(2, value=bytes(720)), acks=1)
    assert keeper.answering.on_riding(Get(key_of(2)), asked.world.net.now) is None, "it has to be asked for"


def test_an_offer_is_answered_with_what_is_lacking() -> None:
    asked = Asked()
    asked.world.put(asked.host, record(1), acks=1)
    digest = asked.ask(Get(key_of(1))).digest
    offer = Offer(((key_of(1), digest), (key_of(2), 7), (key_of(1), 8), (b"short", 1)))
    assert asked.ask(offer) == Wanted((1, 2))


def test_a_put_is_answered_per_copy() -> None:
    asked = Asked()
    good = record(1)
    long = msgspec.structs.replace(good, value=bytes(1000))
    copies = (Copy(good, 600.0), Copy(good, 0.0), Copy(long, 600.0), Copy(record(1, 0), 600.0))
    assert asked.ask(Put(copies)) == Stored((0, RefusalCode.EXPIRED, RefusalCode.TOO_LARGE, RefusalCode.STALE))


def test_what_makes_no_sense_is_not_answered_but_counted() -> None:
    asked = Asked()
    for question in (Get(b"short"), Put(()), Put((Copy(record(1), 1.0),) * 17), Offer(()), Listen(b"short", 1.0)):
        assert asked.ask(question) is None
    assert asked.world.keeper(asked.host).counters["questions_refused"] == 5


def test_who_asks_too_much_is_told_to_come_again() -> None:
    asked = Asked(keeping=msgspec.structs.replace(ALONE, questions_per_s=1.0, questions_burst=4.0))
    key = key_of(1)
    for _ in range(4):
        assert not asked.ask(Get(key), wait_s=0.01).partial
    assert asked.ask(Get(key), wait_s=0.01) == Got((), 0, 0, partial=True)
    assert asked.ask(Put((Copy(record(1), 9.0),)), wait_s=0.01) == Stored((RefusalCode.BUSY,), BUSY_S)
    assert asked.ask(Listen(key, 60.0), wait_s=0.01) == Listening(0.0, 0, 0)
    assert asked.ask(Offer(((key, 1),)), wait_s=0.01) == Wanted(())
    assert not asked.ask(Get(key), host=2).partial, "another one is answered"


def test_subscriptions_are_bounded_and_end_with_their_lease() -> None:
    asked = Asked(keeping=msgspec.structs.replace(ALONE, subscribers_per_key_max=3, subscriptions_max=4))
    key = key_of(1)

    def listen(host: int, wanted: bytes = key, lease_s: float = 60.0) -> float:
        return asked.ask(Listen(wanted, lease_s), host, wait_s=0.01).lease_s  # type: ignore[no-any-return]

    assert [listen(host) for host in (1, 2, 3, 4)] == [60.0, 60.0, 60.0, 0.0]
    asked.world.net.run(1.0)
    assert listen(1) == 60.0, "a renewal needs no room"
    assert listen(2, lease_s=0.0) == 0.0, "ended by its owner"
    assert listen(4) == 60.0
    asked.world.net.run(62.0)
    assert listen(5) == 60.0, "the others have ended"
    assert [listen(6, key_of(n)) for n in (2, 3, 4, 5)] == [60.0, 60.0, 60.0, 0.0]
    assert asked.world.keeper(asked.host).counters["subscriptions_refused"] == 2
    asked.world.net.run(62.0)
    assert [listen(6, key_of(n)) for n in (5, 6)] == [60.0, 60.0]
    assert listen(7, lease_s=float("nan")) == 0.0


def test_numbers_of_later_versions_count_as_malformed() -> None:
    assert refusal_of(0) is None
    assert refusal_of(1) is RefusalCode.BAD_SIGNATURE
    assert refusal_of(250) is RefusalCode.MALFORMED
