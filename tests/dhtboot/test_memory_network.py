import math
from dataclasses import dataclass, field

import pytest

from dhtboot.effects import Effect, Joined, Send
from tests.dhtboot.memory_network import Network

A = ("10.0.0.1", 1)
B = ("10.0.0.2", 1)


@dataclass
class Echo:
    """Answers every packet, and says something by itself at one time."""

    speaks_at: float = math.inf
    to: tuple[str, int] = B
    heard: list[tuple[float, object]] = field(default_factory=list)

    def receive(self, packet: object, source: tuple[str, int], now: float) -> list[Effect]:
        self.heard.append((now, packet))
        return [] if packet == "echo" else [Send(source, "echo")]

    def tick(self, now: float) -> list[Effect]:
        self.speaks_at = math.inf
        return [Send(self.to, "hello"), Joined(0)]

    def next_deadline(self) -> float:
        return self.speaks_at


def pair(network: Network) -> tuple[Echo, Echo, list[Effect]]:
    a, b = Echo(speaks_at=5.0), Echo()
    events: list[Effect] = []
    network.add(a, A, on_event=events.append)
    network.add(b, B)
    return a, b, events


def test_packets_and_timers_meet_in_virtual_time() -> None:
    network = Network(1, delay=(0.5, 0.0))
    a, b, events = pair(network)
    network.run(10.0)
    assert b.heard == [(5.5, "hello")]
    assert a.heard == [(6.0, "echo")]
    assert events == [Joined(0)]
    assert network.now == 10.0
    assert network.counters == {"sent": 2, "bytes": 0, "delivered": 2}


def test_run_until_stops_at_the_moment_and_fails_after_the_limit() -> None:
    network = Network(1, delay=(0.5, 0.0))
    a, _b, _events = pair(network)
    assert network.run_until(lambda: a.heard, limit_s=10.0) == 6.0
    with pytest.raises(AssertionError, match="seed 1"):
        network.run_until(lambda: False, limit_s=1.0)


def test_a_cut_stops_both_ways_until_it_heals_and_the_dead_hear_nothing() -> None:
    network = Network(1)
    a, b, _events = pair(network)
    network.cut([A], [B])
    network.send(A, B, "one")
    network.send(B, A, "two")
    network.run(1.0)
    assert not a.heard
    assert not b.heard
    network.heal()
    network.kill(A)
    network.send(B, A, "three")
    network.run(10.0)
    assert network.counters == {"sent": 3, "bytes": 0, "cut": 2, "nobody": 1}


def test_loss_and_duplication_are_about_as_frequent_as_asked() -> None:
    network = Network(2, loss=0.2, duplicate=0.1)
    b = Echo()
    network.add(b, B)
    for _ in range(1000):
        network.send(A, B, "echo")
    network.run(1.0)
    assert 150 < network.counters["lost"] < 250
    assert 50 < network.counters["duplicated"] < 110
    assert len(b.heard) == 1000 - network.counters["lost"] + network.counters["duplicated"]


def test_the_same_seed_gives_the_same_traffic() -> None:
    def digest(seed: int) -> str:
        network = Network(seed, loss=0.1)
        network.add(Echo(), B)
        for _ in range(50):
            network.send(A, B, "hi")
        network.run(1.0)
        return network.digest

    assert digest(3) == digest(3) != digest(4)
