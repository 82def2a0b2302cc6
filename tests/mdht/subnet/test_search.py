import itertools
import math
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtboot.bootstrap_client import BootstrapClient, ClientConfig, OnContact
from dhtboot.bootstrap_client import Phase as ClientPhase
from dhtboot.bootstrap_messages import BootstrapPacket, ContactReply, ContactRequest
from dhtboot.effects import Effect, Send
from dhtboot.ids import Address, NodeRef
from mdht.subnet.face_messages import Welcome
from mdht.subnet.search import TRANSITIONS, Action, Input, Nobody, Search, SearchConfig, Stage, Way

SERVER = ("192.0.2.1", 27184)
CONTACT = NodeRef(9, ("192.0.2.9", 4000))
FOUND = NodeRef(77, ("::77", 0))
RING = b"ringring"
WAY = Way(FOUND, RING, alone=False)
CONFIG = SearchConfig()


class Subject:
    """One host's search, what it has sent, and how it has ended."""

    def __init__(
        self, config: SearchConfig = CONFIG, *, server: bool = True, entry_points: tuple[Address, ...] = ()
    ) -> None:
        self.now = 0.0
        self.knocks: list[tuple[Address, int, float]] = []
        self.asked: list[tuple[BootstrapPacket, float]] = []
        self.outcomes: list[Way | Nobody] = []
        self.search = Search(self._client if server else None, lambda: entry_points, self._knock, config, Random(1))

    def _client(self, on_contact: OnContact) -> BootstrapClient:
        return BootstrapClient(5, SERVER, ClientConfig(), Random(2), on_contact=on_contact)

    def _knock(self, address: Address, number: int, now: float) -> list[Effect]:
        self.knocks.append((address, number, now))
        return [Send(address, number)]

    def take(self, effects: list[Effect]) -> list[Effect]:
        """Note what was sent, and whether the search has ended."""
        self.asked += [(e.packet, self.now) for e in effects if isinstance(e, Send) and e.to == SERVER]
        outcome = self.search.outcome()
        assert self.search.outcome() is None, "told once"
        if outcome is not None:
            self.outcomes.append(outcome)
        return effects

    def begin(self) -> "Subject":
        self.take(self.search.begin(self.now))
        return self

    def told(self, contact: NodeRef | None) -> None:
        """The server answers what it was asked last."""
        (request, _) = self.asked[-1]
        packet = BootstrapPacket(b"", request.request_id, ContactReply(contact, b""))
        self.take(self.search.receive(packet, SERVER, self.now))

    def welcomed(self, number: int | None = None) -> None:
        number = self.knocks[-1][1] if number is None else number
        self.search.welcomed(Welcome(number=number, ring_id=RING, alone=False), FOUND, self.now)
        self.take([])

    def run(self, until: float) -> "Subject":
        while self.search.next_deadline() <= until:
            assert self.search.next_deadline() > self.now or self.now == 0.0
            self.now = max(self.now, self.search.next_deadline())
            self.take(self.search.tick(self.now))
        self.now = until
        return self


def subject_in(stage: Stage) -> Subject:
    subject = Subject()
    if stage is not Stage.IDLE:
        subject.begin()
    if stage is Stage.KNOCKING:
        subject.told(CONTACT)
    assert subject.search.stage is stage
    assert subject.outcomes == []
    return subject


# ---- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stage", "what"), list(itertools.product(Stage, Input)))
def test_every_pair_takes_the_step_of_the_table_or_none(stage: Stage, what: Input) -> None:
    subject = subject_in(stage)
    asked, knocks, due_at = len(subject.asked), len(subject.knocks), subject.search.next_deadline()
    subject.search._on_input(what, 0.5)
    subject.take(subject.search._collect())
    to, action = TRANSITIONS.get((stage, what), (stage, None))
    assert subject.search.stage is to
    assert len(subject.asked) - asked == (action is Action.ASK)
    assert len(subject.knocks) - knocks == (action is Action.KNOCK)
    assert subject.outcomes == ([Nobody()] if action is Action.NOT_FOUND else [])
    if action is None:
        assert subject.search.next_deadline() == due_at
    elif to is Stage.IDLE:
        assert subject.search.next_deadline() == math.inf


def test_every_stage_input_and_action_is_in_the_table() -> None:
    assert {stage for stage, _ in TRANSITIONS} == {stage for stage, _ in TRANSITIONS.values()} == set(Stage)
    assert {what for _, what in TRANSITIONS} == set(Input)
    assert {action for _, action in TRANSITIONS.values()} == set(Action)


# ---- runs ------------------------------------------------------------------------------------------------------------


def test_who_is_named_by_the_server_and_answers_a_knock_is_the_way() -> None:
    subject = Subject().begin()
    assert [packet.message for packet, _ in subject.asked] == [ContactRequest()]
    subject.told(CONTACT)
    ((address, number, _),) = subject.knocks
    assert (address, number > 0) == (CONTACT.address, True)
    subject.welcomed()
    assert subject.outcomes == [WAY]
    assert subject.search.next_deadline() == math.inf
    subject.welcomed()
    assert subject.outcomes == [WAY], "a second welcome is no news"


def test_without_a_server_nobody_is_found_at_once() -> None:
    subject = Subject(server=False).begin()
    assert subject.outcomes == [Nobody()]
    assert subject.search.stage is Stage.IDLE
    assert subject.search.client is None
    assert subject.search.next_deadline() == math.inf
    assert subject.search.receive(BootstrapPacket(b"", 1, ContactReply(CONTACT, b"")), SERVER, 1.0) == []


def test_where_the_server_knows_nobody_nobody_is_found() -> None:
    subject = Subject().begin()
    subject.told(None)
    assert subject.outcomes == [Nobody()]
    assert subject.knocks == []


def test_a_silent_server_is_asked_again_for_some_time_and_then_left_alone() -> None:
    subject = Subject().begin().run(CONFIG.server_s - 0.01)
    assert len(subject.asked) > 2
    assert subject.outcomes == []
    subject.run(CONFIG.server_s)
    assert subject.outcomes == [Nobody()]
    asked = len(subject.asked)
    subject.run(1000.0)
    assert len(subject.asked) == asked
    subject.told(CONTACT)
    assert subject.search.stage is Stage.IDLE, "its answer comes too late"


def test_a_silent_contact_is_knocked_at_twice_and_then_another_one_is_asked_for() -> None:
    subject = subject_in(Stage.KNOCKING)
    subject.run(2 * CONFIG.knock_s)
    assert [(address, at) for address, _, at in subject.knocks] == [(CONTACT.address, 0.0), (CONTACT.address, 0.7)]
    assert len({number for _, number, _ in subject.knocks}) == 1, "the answer to either serves"
    assert subject.search.stage is Stage.ASKING
    other = NodeRef(10, ("192.0.2.10", 4000))
    subject.told(other)
    assert subject.knocks[-1][0] == other.address
    assert subject.knocks[-1][1] != subject.knocks[0][1]
    subject.welcomed()
    assert subject.outcomes == [WAY]


def test_after_three_silent_contacts_nobody_was_found() -> None:
    subject = Subject().begin()
    for _ in range(CONFIG.contacts):
        assert subject.outcomes == []
        subject.told(CONTACT)
        subject.run(subject.now + 2 * CONFIG.knock_s + 0.001)
    assert subject.outcomes == [Nobody()]
    assert len(subject.knocks) == CONFIG.contacts * CONFIG.knocks
    assert subject.search.client is not None
    assert subject.search.client.phase is ClientPhase.IDLE


def test_the_next_search_has_all_its_contacts_again() -> None:
    subject = Subject(msgspec.structs.replace(CONFIG, contacts=1))
    for count in (1, 2):
        subject.begin()
        subject.told(CONTACT)
        subject.run(subject.now + 10.0)
        assert len(subject.knocks) == count * CONFIG.knocks
        assert subject.outcomes == [Nobody()] * count


def test_a_welcome_counts_only_under_the_number_of_the_knock() -> None:
    subject = subject_in(Stage.KNOCKING)
    for number in (0, subject.knocks[-1][1] ^ 1):
        subject.welcomed(number)
    assert subject.search.stage is Stage.KNOCKING
    assert subject.outcomes == []
    idle = Subject()
    idle.welcomed(0)
    assert idle.outcomes == [], "no number is none"


def test_a_welcome_that_comes_when_another_contact_is_asked_for_is_no_news() -> None:
    subject = subject_in(Stage.KNOCKING).run(2 * CONFIG.knock_s)
    assert subject.search.stage is Stage.ASKING
    subject.welcomed()
    assert subject.outcomes == []
    assert subject.search.stage is Stage.ASKING
    subject.told(None)
    assert subject.outcomes == [Nobody()], "the search has one end"


@pytest.mark.parametrize("stage", [Stage.ASKING, Stage.KNOCKING])
def test_a_search_that_is_broken_off_has_no_end_and_says_no_more(stage: Stage) -> None:
    subject = subject_in(stage)
    subject.take(subject.search.break_off(0.1))
    assert subject.search.stage is Stage.IDLE
    asked, knocks = len(subject.asked), len(subject.knocks)
    subject.run(100.0)
    subject.told(CONTACT)
    if knocks:
        subject.welcomed()
    assert (len(subject.asked), len(subject.knocks), subject.outcomes) == (asked, knocks, [])


def test_there_is_one_search_at_a_time_and_asking_for_another_does_not_prolong_it() -> None:
    subject = Subject(msgspec.structs.replace(CONFIG, contacts=1)).begin()
    subject.told(CONTACT)
    subject.begin()
    assert len(subject.asked) == 1
    subject.run(2 * CONFIG.knock_s)
    assert subject.outcomes == [Nobody()]


@given(
    st.lists(
        st.tuples(st.sampled_from(["contact", "nobody", "silence"]), st.sampled_from(["welcome", "silence", "late"])),
        min_size=3,
        max_size=3,
    ),
    st.floats(0.0, 11.0),
)
def test_whatever_others_do_a_search_ends_once_and_in_time(ways: list[tuple[str, str]], delay_s: float) -> None:
    subject = Subject().begin()
    for server, contact in ways:
        if subject.outcomes:
            break
        subject.run(subject.now + delay_s)
        if server == "silence":
            subject.run(subject.now + CONFIG.server_s - delay_s + 0.001)
            break
        subject.told(CONTACT if server == "contact" else None)
        if server == "contact" and contact == "welcome":
            subject.welcomed()
        elif server == "contact":
            subject.run(subject.now + CONFIG.knocks * CONFIG.knock_s + 0.001)
            if contact == "late":
                subject.welcomed()
    way = next((index for index, way in enumerate(ways) if way == ("contact", "welcome")), 3)
    ended = next((index for index, (server, _) in enumerate(ways) if server != "contact"), 3)
    assert subject.outcomes == [WAY if way < ended else Nobody()]
    assert subject.search.stage is Stage.IDLE
    assert subject.now <= CONFIG.contacts * (CONFIG.server_s + CONFIG.knocks * CONFIG.knock_s + 0.001)
    assert subject.run(subject.now + 100.0).outcomes == subject.outcomes[:1]


@pytest.mark.parametrize("bad", [{"server_s": 0.0}, {"knock_s": -1.0}, {"knocks": 0}, {"contacts": 0}])
def test_settings_of_a_search_that_makes_no_sense_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least one contact"):
        SearchConfig(**bad)  # type: ignore[arg-type]


# ---- entry points ----------------------------------------------------------------------------------------------------

ENTRIES = tuple((f"192.0.2.{number}", 27183) for number in range(10, 14))


def silence(subject: Subject) -> None:
    """Nobody answers until the search ends, or asks the server."""
    while not subject.outcomes and not subject.asked:
        subject.now = subject.search.next_deadline()
        subject.take(subject.search.tick(subject.now))


def test_entry_points_are_knocked_at_one_after_the_other_without_a_server() -> None:
    subject = Subject(server=False, entry_points=ENTRIES).begin()
    silence(subject)
    assert sorted({address for address, _number, _at in subject.knocks}) == sorted(ENTRIES)
    assert len(subject.knocks) == CONFIG.knocks * len(ENTRIES)
    assert subject.outcomes == [Nobody()]


def test_the_server_is_asked_when_no_entry_point_answers() -> None:
    subject = Subject(entry_points=ENTRIES[:1]).begin()
    silence(subject)
    assert len(subject.knocks) == CONFIG.knocks
    assert len(subject.asked) == 1
    subject.told(CONTACT)
    assert subject.knocks[-1][0] == CONTACT.address


def test_an_entry_point_that_answers_is_the_way_in() -> None:
    subject = Subject(server=False, entry_points=ENTRIES[:1]).begin()
    ((address, number, _at),) = subject.knocks
    assert address == ENTRIES[0]
    subject.search.welcomed(Welcome(number=number, ring_id=RING, alone=False), FOUND, subject.now)
    subject.take([])
    assert subject.outcomes == [WAY]


def test_of_many_entry_points_a_few_are_tried_and_others_the_next_time() -> None:
    many = tuple((f"198.51.100.{number}", 27183) for number in range(200))
    subject = Subject(server=False, entry_points=(*many, *many)).begin()
    silence(subject)
    first = {address for address, _number, _at in subject.knocks}
    assert len(first) == CONFIG.entry_points
    subject.outcomes.clear()
    subject.begin()
    silence(subject)
    assert len({address for address, _number, _at in subject.knocks}) > CONFIG.entry_points
