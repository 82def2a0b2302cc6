import math
from random import Random
from typing import Any

import msgspec
import pytest

from dhtboot.core import Core
from dhtboot.effects import Effect, Joined, Send
from dhtboot.errors import LocalProtocolError
from dhtboot.ids import Address
from dhtboot.sim.engine import DELAYS, STALLED_WAKES, Engine
from dhtboot.sim.network import draw_delays, draw_losses


class Word(msgspec.Struct, frozen=True):
    text: str


class Letter(msgspec.Struct, frozen=True):
    message: Word


class Correspondent(Core):
    """Writes to its friend at its times, and keeps what it gets."""

    def __init__(self, friend: Address, times: list[float]) -> None:
        self.friend = friend
        self.times = times
        self.got: list[tuple[float, str, Address]] = []
        self.woken: list[float] = []

    def receive(self, packet: Any, source: Address, now: float) -> list[Effect]:
        self.got.append((now, packet.message.text, source))
        return []

    def tick(self, now: float) -> list[Effect]:
        self.woken.append(now)
        due = [at for at in self.times if at <= now]
        self.times = [at for at in self.times if at > now]
        return [Send(self.friend, Letter(Word(f"due {at}"))) for at in due]

    def next_deadline(self) -> float:
        return min(self.times, default=math.inf)


A, B = ("10.0.0.1", 1), ("10.0.0.2", 1)


def pair(times: list[float], **options: Any) -> tuple[Engine, Correspondent, Correspondent, list[Effect]]:
    delays = options.pop("delays", [50] * DELAYS)
    engine = Engine(delays, options.pop("losses", b""), {Word: 1}, **options)
    events: list[Effect] = []
    writer, reader = Correspondent(B, times), Correspondent(A, [])
    host = engine.add(writer, A, lambda effect, _now: events.append(effect))
    engine.add(reader, B, lambda effect, _now: events.append(effect))
    engine.perform(host, [])
    return engine, writer, reader, events


def test_a_packet_arrives_after_its_delay_and_a_core_wakes_at_its_deadline() -> None:
    engine, writer, reader, _ = pair([0.1, 0.2505])
    engine.run(1.0)
    assert writer.woken == [0.1, 0.251]
    assert reader.got == [(0.15, "due 0.1", A), (0.301, "due 0.2505", A)]
    assert (engine.messages, engine.events, engine.dropped) == (2, 4, 0)
    assert engine.now == pytest.approx(1.001)


def test_time_may_begin_before_zero() -> None:
    engine, writer, _reader, _ = pair([-1.5], start_s=-2.0)
    engine.run(0.0)
    assert writer.woken == [-1.5]


def test_effects_that_are_no_packets_go_to_the_host_s_owner() -> None:
    engine, _writer, _reader, events = pair([])
    engine.perform(engine.add(Correspondent(B, []), ("10.0.0.3", 1), lambda e, _now: events.append(e)), [Joined(3)])
    assert events == [Joined(3)]


def test_packets_to_the_dead_and_to_nobody_are_dropped() -> None:
    engine, _writer, reader, _ = pair([0.1, 0.2])
    engine.run(0.12)
    host = engine._hosts[B]
    engine.kill(host)
    engine.run(1.0)
    assert not reader.got
    assert engine.dropped == 2
    engine.perform(engine._hosts[A], [Send(("10.9.9.9", 1), Letter(Word("lost")))])
    assert engine.dropped == 3


def test_a_new_core_takes_the_place_of_a_dead_one_but_not_of_a_living_one() -> None:
    engine, _writer, _reader, _ = pair([0.1])
    with pytest.raises(AssertionError, match="in use"):
        engine.add(Correspondent(A, []), B, lambda _e, _now: None)
    engine.kill(engine._hosts[B])
    again = Correspondent(A, [0.3])
    engine.perform(engine.add(again, B, lambda _e, _now: None), [])
    engine.run(0.5)
    assert again.woken == [0.3]
    assert [text for _, text, _ in again.got] == ["due 0.1"]


def test_a_cut_stops_packets_between_its_sides_only() -> None:
    engine, _writer, reader, _ = pair([0.1, 0.2, 0.3])
    engine._hosts[B].side = 1
    engine.run(0.15)
    engine.cut = True
    engine.run(0.25)
    engine.cut = False
    engine.run(1.0)
    assert [text for _, text, _ in reader.got] == ["due 0.1", "due 0.3"]


def test_losses_are_as_frequent_as_they_are_said_to_be() -> None:

    losses = draw_losses(Random(1), 0.3)
    assert sum(losses) / len(losses) == pytest.approx(0.3, abs=0.01)
    assert draw_losses(Random(1), 0.0) == b""
    engine, _writer, reader, _ = pair([n / 100 for n in range(2000)], losses=losses)
    engine.run(30.0)
    assert len(reader.got) + engine.dropped == 2000
    assert engine.dropped == sum(losses[:2000])


def test_delays_have_the_mean_and_deviation_of_the_model() -> None:

    delays = draw_delays(Random(2), 0.05, 0.005)
    mean = sum(delays) / len(delays)
    assert mean == pytest.approx(50.0, abs=0.1)
    assert math.sqrt(sum((d - mean) ** 2 for d in delays) / len(delays)) == pytest.approx(5.0, abs=0.1)
    assert min(draw_delays(Random(2), 0.001, 0.005)) == 0
    with pytest.raises(LocalProtocolError, match="delays are wanted"):
        Engine([1, 2, 3], b"", {})


def test_calls_come_before_everything_else_of_their_moment() -> None:
    engine, writer, _reader, _ = pair([0.1])
    seen: list[tuple[float, int]] = []
    engine.at(0.1, lambda now: seen.append((now, len(writer.woken))))
    engine.run(0.2)
    assert seen == [(0.1, 0)]


def test_the_digest_tells_runs_apart_by_time_sender_receiver_and_kind() -> None:
    def digest(times: list[float]) -> str:
        engine, *_ = pair(times)
        engine.run(1.0)
        return engine.digest

    assert digest([0.1, 0.2]) == digest([0.1, 0.2])
    assert len({digest(times) for times in ([0.1, 0.2], [0.1, 0.201], [0.1], [0.1, 0.1])}) == 4


def test_a_core_whose_deadline_never_moves_on_is_named() -> None:
    class Stuck(Correspondent):
        def next_deadline(self) -> float:
            return 0.0

    engine = Engine([50] * DELAYS, b"", {Word: 1})
    stuck = Stuck(A, [])
    engine.perform(engine.add(stuck, B, lambda _e, _now: None), [])
    with pytest.raises(AssertionError, match=r"10\.0\.0\.2.*again and again"):
        engine.run(0.1)
    assert len(stuck.woken) == STALLED_WAKES + 1
