from random import Random
from typing import Any

import pytest

from mdht.subnet.effects import Effect, MemberChanged, Multicast
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import Bye, Hello, Here, Message, Ping, State, Suspect
from mdht.subnet.observer import SILENCE_HEARTBEATS, Observer
from mdht.subnet.wire import Header

OVERLAY_HASH = bytes(20)
ADDRESS = ("192.0.2.1", 4000)
A, B = b"a" * 8, b"b" * 8


def here(state: State = State.READY, size: int = 1, **fields: Any) -> Here:
    values: dict[str, Any] = {
        "addresses": (ADDRESS,),
        "load": 0,
        "heard": 0,
        "view_epoch": 1,
        "view_hash": bytes(8),
        "node_state_hash": bytes(8),
        "data_root": bytes(8),
        "last_put": 0,
    }
    return Here(state=state, size=size, **{**values, **fields})


class Scene:
    """An observer and what it is told."""

    def __init__(self, *, proven: bool = False) -> None:
        self.observer = Observer(b"observer", OVERLAY_HASH, MembershipConfig(), Random(1), proven=proven)
        self.now = 100.0
        self.effects: list[Effect] = self.observer.start(self.now)

    def hears(self, hid: bytes, message: Message, *, incarnation: int = 1, multicast: bool = True) -> list[Effect]:
        header = Header(subnet_tag=bytes(8), hid=hid, incarnation=incarnation, seq=1)
        return self.observer.receive(header, message, ADDRESS, self.now, multicast=multicast)

    def passes(self, seconds: float) -> list[Effect]:
        end, effects = self.now + seconds, []
        while self.observer.next_deadline() <= end:
            self.now = max(self.now, self.observer.next_deadline())
            effects += self.observer.tick(self.now)
        self.now = end
        return effects

    def state(self, hid: bytes) -> State:
        member = self.observer.view.get(hid)
        assert member is not None
        return member.state


def test_it_says_hello_three_times_without_an_address_and_nothing_else() -> None:
    scene = Scene()
    said = [*scene.effects, *scene.passes(60.0)]
    assert said == [Multicast(Hello(overlay_hash=OVERLAY_HASH))] * 3
    assert scene.observer.next_deadline() == float("inf")


def test_members_are_those_who_say_that_they_are_here() -> None:
    scene = Scene()
    assert scene.hears(A, here()) == [MemberChanged(A, State.READY)]
    assert scene.hears(A, here()) == []
    for message in (Hello(overlay_hash=OVERLAY_HASH), Ping(nonce=bytes(8)), Bye(handed_over=True), here(State.DEAD)):
        assert scene.hears(B, message) == []
    assert scene.hears(B, here(), multicast=False) == []
    assert [member.hid for member in scene.observer.view] == [A]


def test_it_has_heard_all_when_it_has_heard_as_many_as_they_count() -> None:
    scene = Scene()
    assert not scene.observer.complete
    scene.hears(A, here(size=2))
    assert not scene.observer.complete
    scene.hears(B, here(size=2))
    assert scene.observer.complete
    scene.hears(B, Bye(handed_over=True))
    scene.hears(A, here(size=1))
    assert scene.observer.complete


def test_a_goodbye_is_seen_at_once_and_a_late_heartbeat_does_not_undo_it() -> None:
    scene = Scene()
    scene.hears(A, here())
    assert scene.hears(A, Bye(handed_over=True)) == [MemberChanged(A, State.LEFT)]
    assert scene.hears(A, here()) == []
    assert scene.hears(A, here(State.JOINING), incarnation=2) == [MemberChanged(A, State.JOINING)]


def test_who_is_accused_and_does_not_refute_is_dead() -> None:
    scene = Scene()
    scene.hears(A, here())
    scene.hears(B, here())
    accusation = Suspect(target=A, incarnation=1, silent_ds=30)
    assert scene.hears(B, accusation) == [MemberChanged(A, State.SUSPECT)]
    assert scene.hears(A, here(), incarnation=2) == [MemberChanged(A, State.READY)]
    assert not any(isinstance(effect, MemberChanged) for effect in scene.passes(2.0))
    scene.hears(B, Suspect(target=A, incarnation=2, silent_ds=30))
    assert scene.passes(1.0) == [MemberChanged(A, State.DEAD)]


def test_of_whom_nobody_says_that_he_is_gone_ten_missed_heartbeats_do() -> None:
    scene = Scene()
    scene.hears(A, here())
    scene.passes(SILENCE_HEARTBEATS - 0.1)
    assert scene.state(A) is State.READY
    assert scene.passes(0.2) == [MemberChanged(A, State.SUSPECT)]
    assert scene.passes(1.0) == [MemberChanged(A, State.DEAD)]
    assert scene.hears(A, here()) == [MemberChanged(A, State.READY)]


@pytest.mark.parametrize("message", [Bye(handed_over=True), here(State.JOINING), Ping(nonce=bytes(8))])
def test_what_an_earlier_start_said_changes_nothing(message: Message) -> None:
    scene = Scene()
    scene.hears(A, here(), incarnation=3)
    assert scene.hears(A, message, incarnation=2) == []
    assert scene.state(A) is State.READY


def test_members_over_the_limit_are_turned_away_and_counted() -> None:
    observer = Observer(b"observer", OVERLAY_HASH, MembershipConfig(members_max=1), Random(1))
    for hid in (A, B):
        observer.receive(Header(subnet_tag=bytes(8), hid=hid, incarnation=1, seq=1), here(), ADDRESS, 0, multicast=True)
    assert len(observer.view) == 1
    assert observer.counters == {"turned_away": 1}


def test_where_hosts_sign_it_takes_two_accusers_of_two_machines_and_nothing_unsigned_is_a_sign_of_life() -> None:
    scene, hids = Scene(proven=True), [A, B, b"c" * 8, b"d" * 8]
    for number, hid in enumerate(hids):
        address = (f"192.0.2.{min(number, 2) + 1}", 4000 + number)  # the last two are on one machine
        scene.hears(hid, here(size=4, addresses=(address,)))
    accused, one, two, three = hids
    lie = Suspect(target=accused, incarnation=1, silent_ds=30)
    scene.hears(b"stranger", lie)
    scene.hears(accused, lie)
    scene.hears(two, lie)
    scene.hears(three, lie)
    assert scene.state(accused) is State.READY
    scene.hears(accused, here(size=4))
    scene.hears(one, lie)
    assert scene.state(accused) is State.READY, "what was said before it was heard does not count"
    scene.hears(two, lie)
    assert scene.state(accused) is State.SUSPECT
    scene.hears(accused, Ping(nonce=bytes(8)))
    assert scene.state(accused) is State.SUSPECT
    scene.passes(1.0)
    assert scene.state(accused) is State.DEAD


def test_where_two_hosts_sign_one_of_them_is_enough() -> None:
    scene = Scene(proven=True)
    scene.hears(A, here(size=2))
    scene.hears(B, here(size=2, addresses=(("192.0.2.2", 4000),)))
    scene.hears(B, Suspect(target=A, incarnation=1, silent_ds=30))
    assert scene.state(A) is State.SUSPECT
