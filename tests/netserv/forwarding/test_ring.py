"""Both ends of a ring against each other, and the broker's end against a container that writes whatever it likes."""

import os
import random
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from netserv.errors import LocalProtocolError, RemoteProtocolError
from netserv.forwarding.broker_end import BrokerEnd
from netserv.forwarding.ring import (
    ACCEPT,
    ANSWERS_HEAD,
    BROKER_SLEEPS,
    CHANGED,
    COUNTS,
    DROP,
    HEADER_BYTES,
    INJECT,
    LATE_HEAD,
    PACKETS_HEAD,
    VERDICTS,
    BoxEnd,
    Layout,
    PythonBoxEnd,
    Ring,
    map_memory,
)

ENDS = sorted({BoxEnd, PythonBoxEnd}, key=lambda end: end.__module__)
"Both, where the compiled part was built."


@pytest.fixture
def ring() -> Iterator[Ring]:
    made = Ring.create(slots=8, slot_bytes=256, injected=4)
    yield made
    made.close()


@pytest.fixture(params=ENDS, ids=lambda end: end.__module__.rpartition(".")[2])
def box(ring: Ring, request: pytest.FixtureRequest) -> PythonBoxEnd:
    made: PythonBoxEnd = request.param(*ring.box_descriptors)
    return made


@pytest.fixture
def broker(ring: Ring) -> BrokerEnd[int]:
    return BrokerEnd(*ring.broker_descriptors, sequence=2**32 - 2)


def test_packets_and_verdicts_reach_the_other_side(box: PythonBoxEnd, broker: BrokerEnd[int]) -> None:
    for number in range(3):
        assert broker.post(b"packet %d" % number, 7, number) is not None
    broker.wake()
    taken = box.take()
    assert [(number, bytes(view)) for _, number, view in taken] == [(7, b"packet %d" % each) for each in range(3)]
    box.answer(taken[2][0], DROP)
    taken[0][2][:6] = b"change"
    box.answer(taken[0][0], CHANGED, 8)
    box.answer(taken[1][0], ACCEPT)
    assert broker.collect() == [], "nothing is heard before it is flushed"
    box.flush()
    assert [(each.token, each.verdict, each.data) for each in broker.collect()] == [
        (2, DROP, b""),
        (0, CHANGED, b"change 0"),
        (1, ACCEPT, b""),
    ]


@pytest.mark.parametrize("end", ENDS)
def test_packets_that_came_before_the_container_looked_are_there(
    ring: Ring, broker: BrokerEnd[int], end: type[PythonBoxEnd]
) -> None:
    broker.post(b"early", 7, 1)
    box = end(*ring.box_descriptors)
    assert [bytes(view) for _, _, view in box.take()] == [b"early"]


def test_a_sleeper_is_woken(box: PythonBoxEnd, broker: BrokerEnd[int]) -> None:
    assert box.take() == []
    with pytest.raises(BlockingIOError):
        os.read(box.fileno(), 1)
    broker.post(b"x", 1, 1)
    broker.wake()
    assert os.read(box.fileno(), 100) == b"\1"
    ((slot, _, _),) = box.take()
    box.answer(slot, ACCEPT)
    box.flush()
    assert os.read(broker.fileno(), 100) == b"\1"


def test_a_broker_that_looks_by_itself_is_not_woken(box: PythonBoxEnd, broker: BrokerEnd[int], ring: Ring) -> None:
    memory, _ = map_memory(ring.memory)
    broker.post(b"x", 1, 1)
    ((slot, _, _),) = box.take()
    with memoryview(memory) as whole, whole[:HEADER_BYTES] as header, header.cast("I") as words:
        words[BROKER_SLEEPS] = 0
        box.answer(slot, ACCEPT)
        box.flush()
        with pytest.raises(BlockingIOError):
            os.read(broker.fileno(), 1)
        assert [each.token for each in broker.collect()] == [1]
        words[BROKER_SLEEPS] = 1
        box.inject(b"y", 1)
        box.flush()
        assert os.read(broker.fileno(), 100) == b"\1"


def test_a_full_ring_takes_no_more_until_there_is_an_answer(box: PythonBoxEnd, broker: BrokerEnd[int]) -> None:
    slots = [broker.post(b"x", 1, number) for number in range(9)]
    assert slots.count(None) == 1
    assert broker.lent == 8
    assert broker.post(b"x" * 257, 1, 9) is None
    taken = box.take(3)
    assert len(taken) == 3
    box.answer(taken[0][0], ACCEPT)
    box.flush()
    assert [each.token for each in broker.collect()] == [0]
    assert broker.post(b"y", 1, 10) is not None


def test_numbers_wrap(box: PythonBoxEnd, broker: BrokerEnd[int]) -> None:
    for number in range(1_000):
        assert broker.post(struct.pack("=I", number), 1, number) is not None
        ((slot, _, view),) = box.take()
        assert struct.unpack("=I", view) == (number,)
        box.answer(slot, ACCEPT)
        assert box.inject(b"own")
        box.flush()
        assert [each.token for each in broker.collect()] == [number, None]


def test_an_answer_after_the_deadline_frees_the_slot_and_counts_no_more(
    box: PythonBoxEnd, broker: BrokerEnd[int]
) -> None:
    slot = broker.post(b"x", 1, 1)
    assert slot is not None
    box.take()
    broker.give_up(slot)
    assert broker.lent == 1
    box.answer(slot, DROP)
    box.flush()
    assert broker.collect() == []
    assert broker.counters["late"] == 1
    assert broker.lent == 0


def test_what_is_late_before_it_is_taken_is_not_shown_any_more(box: PythonBoxEnd, broker: BrokerEnd[int]) -> None:
    for number in range(0, 1_000, 5):  # the numbers of packets wrap, and the places in the ring
        late = [broker.post(b"late", 1, number + each) for each in range(3)]
        kept = [broker.post(b"%d" % each, 1, number + each) for each in (3, 4)]
        for slot in late:
            assert slot is not None
            broker.give_up(slot)
        taken = box.take()
        assert [(slot, bytes(view)) for slot, _, view in taken] == list(zip(kept, [b"3", b"4"], strict=True))
        assert broker.collect() == []
        assert broker.lent == 2
        for slot in kept:
            assert slot is not None
            box.answer(slot, ACCEPT)
        box.flush()
        assert [each.token for each in broker.collect()] == [number + 3, number + 4]
    assert broker.counters == {"late": 600}
    only = broker.post(b"late", 1, 0)
    assert only is not None
    broker.give_up(only)
    assert box.take() == []
    broker.collect()
    assert broker.lent == 0


def test_what_was_counted_is_shown_however_late_it_is(box: PythonBoxEnd, broker: BrokerEnd[int]) -> None:
    late = [broker.post(b"late", 7, 0), broker.post(b"counts", 7 | COUNTS, 1), broker.post(b"late as well", 7, 2)]
    for slot in late:
        assert slot is not None
        broker.give_up(slot)
    taken = box.take(1)
    assert [(number, bytes(view)) for _, number, view in taken] == [(7 | COUNTS, b"counts")]
    box.answer(taken[0][0], ACCEPT)
    assert box.take() == []
    box.flush()
    broker.collect()
    assert broker.lent == 0


def test_injected_packets_use_slots_again_only_when_they_are_read(box: PythonBoxEnd, broker: BrokerEnd[int]) -> None:
    assert [box.inject(b"%d" % number, 5) for number in range(5)] == [True] * 4 + [False]
    box.flush()
    assert [(each.verdict, each.data, each.number) for each in broker.collect()] == [
        (INJECT, b"%d" % number, 5) for number in range(4)
    ]
    assert box.inject(b"again")
    assert not box.inject(b"x" * 257)


def test_a_second_answer_is_foreign(box: PythonBoxEnd, broker: BrokerEnd[int]) -> None:
    broker.post(b"x", 1, 1)
    ((slot, _, _),) = box.take()
    for _ in range(3):
        box.answer(slot, ACCEPT)
    box.answer(slot ^ 1, DROP)
    box.flush()
    assert [each.token for each in broker.collect()] == [1]
    assert broker.counters["foreign"] == 3


def test_a_new_broker_does_not_hear_what_was_meant_for_the_old_one(ring: Ring, box: PythonBoxEnd) -> None:
    old: BrokerEnd[int] = BrokerEnd(*ring.broker_descriptors, sequence=1)
    old.post(b"old", 1, 1)
    ((slot, _, _),) = box.take()
    old.close()
    new: BrokerEnd[int] = BrokerEnd(*ring.broker_descriptors, sequence=77)
    for number in range(8):
        new.post(b"new", 1, number)
    box.answer(slot, DROP)
    box.flush()
    assert new.collect() == []
    assert new.counters["foreign"] == 1
    assert [bytes(view) for _, _, view in box.take()] == [b"new"] * 8


def test_the_container_cannot_make_the_memory_smaller(ring: Ring) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(ring.memory, 4_096)


def test_the_container_cannot_make_the_broker_sleep(ring: Ring, broker: BrokerEnd[int]) -> None:
    _, wake, tell = ring.box_descriptors
    os.set_blocking(wake, True)
    os.set_blocking(tell, True)
    for _ in range(10_000):
        broker.wake()
    assert broker.drain()


def test_a_container_that_closes_its_side_is_noticed(ring: Ring, broker: BrokerEnd[int]) -> None:
    for each in ring._box:
        each.close()
    broker.wake()
    assert not broker.drain()


@pytest.mark.parametrize("settings", [(3, 256, 4), (0, 256, 4), (8, 100, 4), (8, 1 << 20, 4), (8, 256, 1 << 20)])
def test_settings_out_of_bounds_are_refused(settings: tuple[int, int, int]) -> None:
    with pytest.raises(LocalProtocolError):
        Layout(*settings)


@given(st.binary(max_size=8_192))
def test_other_memory_is_refused(data: bytes) -> None:
    memory = os.memfd_create("test")
    try:
        os.write(memory, data)
        with pytest.raises(RemoteProtocolError):
            map_memory(memory)
    finally:
        os.close(memory)


WORDS = st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 255, 256, 257, 2**31, 2**32 - 1]) | st.integers(
    0, 2**32 - 1
)


class HostileBox(RuleBasedStateMachine):
    """A container that answers rightly at times and writes anywhere at others: a packet has one verdict at most."""

    @initialize()
    def begin(self) -> None:
        self.ring = Ring.create(slots=4, slot_bytes=256, injected=2)
        self.box = BoxEnd(*self.ring.box_descriptors)
        self.broker: BrokerEnd[int] = BrokerEnd(*self.ring.broker_descriptors, sequence=5)
        self.memory, _ = map_memory(self.ring.memory)
        self.posted = 0
        self.open: dict[int, int] = {}

    @rule(data=st.binary(min_size=1, max_size=300))
    def post(self, data: bytes) -> None:
        slot = self.broker.post(data, 1, self.posted)
        assert (slot is None) == (self.broker.lent == 4 or len(data) > 256) or slot is not None
        if slot is not None:
            self.open[self.posted] = slot
            self.posted += 1

    @rule()
    def give_up(self) -> None:
        if self.open:
            _, slot = self.open.popitem()
            self.broker.give_up(slot)

    @rule(verdict=st.integers(0, 7), length=WORDS)
    def answer(self, verdict: int, length: int) -> None:
        try:
            taken = self.box.take()
        except (IndexError, struct.error):
            return  # it has scribbled on what it reads
        for slot, _, _ in taken:
            self.box.answer(slot, verdict, length)
        self.box.flush()

    @rule(packet=st.binary(max_size=300))
    def inject(self, packet: bytes) -> None:
        self.box.inject(packet)
        self.box.flush()

    @rule(
        word=st.integers(0, HEADER_BYTES // 4 - 1) | st.sampled_from([PACKETS_HEAD, ANSWERS_HEAD, LATE_HEAD]),
        value=WORDS,
    )
    def scribble_header(self, word: int, value: int) -> None:
        struct.pack_into("=I", self.memory, word * 4, value)

    @rule(seed=st.integers(0, 1_000))
    def scribble_answers(self, seed: int) -> None:
        layout, chance = self.broker.layout, random.Random(seed)
        for number in range(layout.answers):
            words = [chance.choice([0, 1, 3, 4, 5, 255, 256, 2**32 - 1, 6]) for _ in range(4)]
            struct.pack_into("=IIII", self.memory, layout.answers_at + number * 16, *words)

    @rule()
    def hear(self) -> None:
        for each in self.broker.collect():
            if each.token is None:
                assert each.verdict == INJECT
                assert 0 < len(each.data) <= 256
            else:
                del self.open[each.token]
                assert each.verdict in {0, *VERDICTS}
                assert (each.verdict == CHANGED) == bool(each.data)

    @invariant()
    def what_is_open_is_lent(self) -> None:
        if hasattr(self, "broker"):
            assert len(self.open) <= self.broker.lent <= 4
            assert {token for _, token in self.broker._lent.values() if token is not None} == set(self.open)

    def teardown(self) -> None:
        if hasattr(self, "ring"):
            assert set(self.broker.close()) == set(self.open)
            self.memory.close()
            self.ring.close()


TestHostileBox = HostileBox.TestCase
