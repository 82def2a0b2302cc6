"""A request told around a place: who acts, how often, and what who began is answered."""

import heapq
import itertools
import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.errors import LocalProtocolError
from netserv.signaling.epidemic import (
    RADIUS_MAX,
    Act,
    Answer,
    Ask,
    Epidemic,
    EpidemicConfig,
    Gathered,
    Outcome,
)

SID = b"s" * 16
CONFIG = EpidemicConfig(first_pause_s=0.2, longest_pause_s=1.0, tries_max=10)
"Over datagrams, of which some are lost: ten questions in 8.4 s."


def address(number: int) -> bytes:
    return bytes([10, 0, 0, number])


class World:
    """Nodes by number, and links with their length in IP hops; datagrams take their time, and some get lost."""

    def __init__(self, links: dict[tuple[int, int], int], rng: Random, loss: float = 0.0) -> None:
        self.length = {**links, **{(b, a): length for (a, b), length in links.items()}}
        self.numbers = sorted({number for pair in links for number in pair})
        self.nodes = {number: Epidemic[int](CONFIG) for number in self.numbers}
        self.rng, self.loss = rng, loss
        self.acts: list[int] = []
        self.gathered: Gathered[int] | None = None
        self.refusing: set[int] = set()
        self.dead: set[int] = set()
        self.now = 0.0
        self._queue: list[tuple[float, int, int, int, object]] = []
        self._order = itertools.count()

    def neighbours(self, number: int) -> list[bytes]:
        return [address(b) for a, b in self.length if a == number]

    def perform(self, number: int, effects: list[object]) -> None:
        node = self.nodes[number]
        for effect in effects:
            match effect:
                case Act(sid=sid):
                    self.acts.append(number)
                    spread = number not in self.refusing
                    acted = node.acted(sid, str(number), number, self.neighbours(number), self.now, spread=spread)
                    self.perform(number, list(acted))
                case Ask(neighbour=to) | Answer(to=to):
                    if self.rng.random() >= self.loss:
                        at = self.now + self.rng.uniform(0.001, 0.05)
                        heapq.heappush(self._queue, (at, next(self._order), number, to[3], effect))
                case Gathered():
                    self.gathered = effect

    def run(self, until: float) -> None:
        while True:
            deadlines = {number: node.next_deadline() for number, node in self.nodes.items()}
            first = min(deadlines, key=lambda number: deadlines[number])
            if min(self._queue[0][0] if self._queue else math.inf, deadlines[first]) > until:
                return
            if not self._queue or deadlines[first] < self._queue[0][0]:
                self.now = max(self.now, deadlines[first])
                self.perform(first, list(self.nodes[first].tick(self.now)))
                continue
            self.now, _order, teller, to, effect = heapq.heappop(self._queue)
            if to in self.dead:
                continue
            node, neighbours = self.nodes[to], self.neighbours(to)
            if isinstance(effect, Ask):
                distance = self.length[teller, to]
                self.perform(
                    to,
                    list(
                        node.asked(
                            effect.sid, effect.request, effect.budget, address(teller), distance, neighbours, self.now
                        )
                    ),
                )
            elif isinstance(effect, Answer):
                entries = {str(entry): entry for entry in effect.entries}
                self.perform(to, list(node.answered(effect.sid, address(teller), entries, complete=effect.complete)))

    def begin(self, number: int, radius: int) -> None:
        self.perform(number, list(self.nodes[number].begin(SID, b"probe", radius, self.neighbours(number), self.now)))

    def within(self, number: int, radius: int) -> set[int]:
        """By Dijkstra's way, without the code under test."""
        best, heap = {number: 0}, [(0, number)]
        while heap:
            far, here = heapq.heappop(heap)
            for (a, b), length in self.length.items():
                if a == here and far + length < best.get(b, radius + 1):
                    best[b] = far + length
                    heapq.heappush(heap, (far + length, b))
        return set(best) - {number}


@st.composite
def worlds(draw: st.DrawFn) -> dict[tuple[int, int], int]:
    count = draw(st.integers(2, 9))
    links = {(draw(st.integers(0, number - 1)), number): draw(st.integers(1, 3)) for number in range(1, count)}
    for a, b in draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=8)):
        if a < b:
            links.setdefault((a, b), draw(st.integers(1, 3)))
    return links


@given(links=worlds(), radius=st.integers(1, 6), seed=st.integers(0, 10_000))
def test_exactly_the_nodes_within_the_radius_act_once_and_who_began_hears_of_each(
    links: dict[tuple[int, int], int], radius: int, seed: int
) -> None:
    world = World(links, Random(seed))
    world.begin(0, radius)
    world.run(5.0)
    wanted = world.within(0, radius)
    assert sorted(world.acts) == sorted(wanted)
    assert world.gathered is not None
    assert (set(world.gathered.entries), world.gathered.complete) == (wanted, True)


def test_with_a_third_of_all_datagrams_lost_it_is_the_same() -> None:
    missing = 0
    for seed in range(40):
        links = {(0, 1): 1, (1, 2): 1, (2, 3): 1, (1, 4): 1, (4, 5): 1, (0, 6): 3, (6, 7): 1, (2, 5): 1}
        world = World(links, Random(seed), loss=0.3)
        world.begin(0, 3)
        world.run(40.0)
        assert len(world.acts) == len(set(world.acts)), f"seed {seed}: somebody acted twice"
        assert set(world.acts) <= world.within(0, 3), f"seed {seed}"
        assert world.gathered is not None
        assert world.gathered.complete, f"seed {seed}"
        missing += len(world.within(0, 3) - set(world.gathered.entries))
    assert missing <= 3  # of 240: where none of ten questions and their answers came through


def test_a_dead_neighbour_is_given_up_and_the_others_are_heard() -> None:
    world = World({(0, 1): 1, (0, 2): 1, (2, 3): 1}, Random(1))
    world.dead = {1}
    world.begin(0, 3)
    world.run(1.0)
    assert world.gathered == Gathered(SID, (2, 3), complete=False)
    world.run(10.0)
    assert world.gathered == Gathered(SID, (2, 3), complete=True)
    assert world.nodes[0].counters[Outcome.SILENT] == 1


def test_what_a_node_refuses_it_does_not_tell_on() -> None:
    world = World({(0, 1): 1, (1, 2): 1}, Random(1))
    world.refusing = {1}
    world.begin(0, 3)
    world.run(5.0)
    assert world.gathered == Gathered(SID, (1,), complete=True)


def test_everything_is_forgotten_and_a_later_request_of_the_same_name_is_a_new_one() -> None:
    world = World({(0, 1): 1}, Random(1))
    world.begin(0, 1)
    world.run(100.0)
    assert [len(node) for node in world.nodes.values()] == [0, 0]
    world.now = 100.0
    world.begin(0, 1)
    world.run(101.0)
    assert world.acts == [1, 1]


def test_another_request_under_a_known_session_is_answered_with_nothing_and_counted() -> None:
    node = Epidemic[int](EpidemicConfig())
    node.asked(SID, b"one", 3, address(1), 1, [], 0.0)
    assert node.asked(SID, b"two", 3, address(2), 1, [], 0.0) == [Answer(address(2), SID, (), complete=True)]
    assert node.counters[Outcome.OTHER_REQUEST] == 1


def test_an_answer_that_nobody_asked_for_is_counted_and_changes_nothing() -> None:
    node = Epidemic[int](EpidemicConfig())
    node.begin(SID, b"one", 1, [address(1)], 0.0)
    assert node.answered(SID, address(2), {"2": 2}, complete=True) == []
    assert node.answered(b"x" * 16, address(1), {"2": 2}, complete=True) == []
    assert node.counters[Outcome.STRAY] == 2


def test_a_flood_of_requests_fills_the_memory_and_no_more() -> None:
    node = Epidemic[int](EpidemicConfig(rumours_max=10))
    for number in range(100):
        node.asked(b"%16d" % number, b"one", 3, address(1), 1, [], 0.0)
    assert (len(node), node.counters[Outcome.FULL]) == (10, 90)
    with pytest.raises(LocalProtocolError, match="too many"):
        node.begin(SID, b"one", 1, [], 0.0)


def test_answers_without_end_are_kept_to_their_limit() -> None:
    node = Epidemic[int](EpidemicConfig(entries_max=5))
    node.begin(SID, b"one", 1, [address(1)], 0.0)
    (gathered,) = node.answered(SID, address(1), {str(number): number for number in range(100)}, complete=True)
    assert isinstance(gathered, Gathered)
    assert len(gathered.entries) == 5


@pytest.mark.parametrize("radius", [0, -1, RADIUS_MAX + 1])
def test_a_radius_that_is_none_is_refused(radius: int) -> None:
    with pytest.raises(LocalProtocolError, match="1 to 15"):
        Epidemic[int](EpidemicConfig()).begin(SID, b"one", radius, [], 0.0)


def test_who_knows_nobody_has_gathered_nothing_at_once() -> None:
    effects = Epidemic[int](EpidemicConfig()).begin(SID, b"one", 3, [], 0.0)
    assert effects == [Gathered(SID, (), complete=True)]
