import itertools
import math
from random import Random

import pytest

from tests.z2z.exports import item, site
from z2z.mdns.messages import Conflict, ConflictReason, Lost
from z2z.presence import (
    ON_LINK,
    RETRY_S,
    TRANSITIONS,
    Input,
    Neighbours,
    Presence,
    Register,
    State,
    Update,
    Withdraw,
)
from z2z.reports import Report, line

ALONE = Neighbours(name_free=lambda *_: True, host_free=lambda *_: True, count=lambda: 1)


def presence(neighbours: Neighbours = ALONE) -> Presence:
    return Presence(7, item(), site(2, "lab"), neighbours, Random(1))


def claim(core, reason, kind=Conflict):
    return kind(id=core.id, reason=reason, seen=(), source="192.0.2.9")


def registration(effects):
    return next(effect.registration for effect in effects if isinstance(effect, Register))


def lines(effects):
    return [line(effect) for effect in effects if isinstance(effect, Report)]


def test_an_import_appears_under_its_own_name_and_a_host_of_our_making():
    core = presence()
    made = registration(core.appear(300))
    assert (made.item, made.host_label, made.ttl_s) == (item(), b"z2z-198-51-100-7-lab", 30)
    assert core.state is State.PROBING
    assert lines(core.registered()) == ["imported Tom's Music (_daap._tcp) 198.51.100.7:3689 from lab"]
    assert core.state is State.VISIBLE
    assert core.registered() == []


@pytest.mark.parametrize("kind", [Conflict, Lost])
@pytest.mark.parametrize("reason", [ConflictReason.LOCAL_DEVICE, ConflictReason.OTHER_IMPORT])
def test_a_taken_name_is_left_to_its_owner(kind, reason):
    core = presence()
    first = registration(core.appear(300))
    if kind is Lost:
        core.registered()
    second = registration(core.yielded(claim(core, reason, kind), 1))
    assert second.item.instance == b"Tom's Music (lab)"
    assert second.id != first.id
    (report,) = lines(core.registered())
    assert report.startswith("renamed" if kind is Lost else "imported")
    assert "Tom's Music (lab)" in report
    assert reason.value in report


def test_a_taken_host_name_gets_a_number():
    core = presence()
    core.appear(300)
    assert registration(core.yielded(claim(core, ConflictReason.HOST_TAKEN), 1)).host_label == b"z2z-198-51-100-7-lab-2"


@pytest.mark.parametrize("reason", [ConflictReason.LOCAL_DEVICE, ConflictReason.HOST_TAKEN])
def test_when_all_names_are_taken_it_waits_and_begins_anew(reason):
    core = presence()
    core.appear(300)
    while core.state is State.PROBING:
        effects = core.yielded(claim(core, reason), 10)
    assert "trying again" in lines(effects)[0]
    assert core.next_deadline() == 10 + RETRY_S
    assert core.tick(10 + RETRY_S - 0.1) == []
    assert registration(core.tick(10 + RETRY_S)).item.instance == b"Tom's Music"


def test_it_stands_by_for_another_importer_of_the_same_item_until_it_is_registered():
    core = presence()
    core.appear(300)
    assert lines(core.served_elsewhere())[0].startswith("standby")
    assert core.served_elsewhere() == []  # again, after the interface was down
    assert core.next_deadline() == math.inf
    assert core.status(()).state == "standby"
    assert lines(core.registered())[0].startswith("imported")
    assert lines(core.served_elsewhere())[0].startswith("standby")


def test_a_device_that_takes_the_name_from_the_other_importer_takes_it_from_who_stands_by_too():
    core = presence()
    core.appear(300)
    core.served_elsewhere()
    assert registration(core.yielded(claim(core, ConflictReason.LOCAL_DEVICE), 1)).item.instance == b"Tom's Music (lab)"
    assert core.state is State.PROBING


def test_other_data_are_an_update_and_other_addresses_a_new_registration():
    core = presence()
    core.appear(300)
    core.yielded(claim(core, ConflictReason.LOCAL_DEVICE), 1)
    core.registered()
    (update,) = (effect for effect in core.change(item(port=1), core.site) if isinstance(effect, Update))
    assert (update.item.port, update.item.instance) == (1, b"Tom's Music (lab)")
    moved = core.change(item(b"Tom's Music", "203.0.113.5"), core.site)
    assert isinstance(moved[0], Withdraw)
    assert registration(moved).host_label == b"z2z-203-0-113-5-lab"
    assert core.change(item(b"Tom's Music", "203.0.113.5"), core.site) == []


def test_data_that_change_during_standby_are_told_to_the_link():
    core = presence()
    core.appear(300)
    core.served_elsewhere()
    (update,) = (effect for effect in core.change(item(port=1), core.site) if isinstance(effect, Update))
    assert update.item.port == 1


def test_names_and_hosts_of_our_other_imports_are_not_tried():
    busy = Neighbours(
        name_free=lambda _, name: b"(" in name, host_free=lambda host, _: host[-2:] == b"-2", count=lambda: 2
    )
    made = registration(presence(busy).appear(300))
    assert (made.item.instance, made.host_label) == (b"Tom's Music (lab)", b"z2z-198-51-100-7-lab-2")


def test_an_item_that_the_link_cannot_carry_waits():
    core = presence()
    core.appear(300)
    assert "too long" in lines(core.unfit("too long", 0))[0]
    assert core.leave("end")[:-1] == []


def test_leaving_says_goodbye_only_when_something_was_said():
    core = presence()
    core.appear(300)
    assert isinstance(core.leave("end")[0], Withdraw)
    core.unfit("too long", 1)
    assert lines(core.leave("end")) == ["removed Tom's Music (_daap._tcp) 198.51.100.7:3689 from lab: end"]
    assert lines([core.ended("end")]) == lines(core.leave("end"))


@pytest.mark.parametrize(("state", "what"), list(itertools.product(State, Input)))
def test_every_pair_of_state_and_input_is_a_step_or_refused(state, what):
    core = presence()
    core.appear(300)
    core.state, core.reason = state, "some reason"
    if (state, what) not in TRANSITIONS:
        with pytest.raises(KeyError):
            core._step(what, 5.0)
        assert core.state is state
        return
    effects = core._step(what, 5.0)
    assert core.state is TRANSITIONS[state, what][0]
    assert any(isinstance(effect, Register) for effect in effects) == (core.state is State.PROBING)
    assert (core.next_deadline() < math.inf) == (core.state not in ON_LINK)
