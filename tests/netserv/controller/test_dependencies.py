"""Modules that others need and that are not here: looked for, fetched, kept as long as they are needed; without I/O."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mdht.signing import SigningKey
from netserv.controller.controller import Controller
from netserv.controller.dependencies import DEPTH_MAX
from netserv.controller.effects import (
    Effect,
    Fetch,
    Install,
    Locate,
    Located,
    Record,
    Uninstall,
    Verify,
)
from netserv.controller.policy import Caps, DependencyRules
from netserv.controller.states import State
from netserv.modules.manifest import Manifest, PortWish
from netserv.signaling.nslp.codes import Code
from netserv.signaling.nslp.values import Dependency, ModuleRef
from tests.netserv.controller.wishes import (
    MONITOR,
    answered,
    ask,
    kinds,
    manifest,
    policy,
    probe,
    publisher,
    remove,
    setup,
)

CAROL, DAVE = (SigningKey.from_seed(bytes([number]) * 32) for number in (7, 8))
RULES = DependencyRules(fetch=True, publishers={"carol": (CAROL.public_key,)}, timeout_s=30.0)
BASE = "NetServ.base"
SERVER = {"kind": "server", "entry": "code_of:Module"}


def located(name: str = BASE, version: str = "1.2", **changes: Any) -> Located:
    value = Located(
        module=ModuleRef(name, version),
        publisher=CAROL.public_key,
        digest=name.encode().ljust(28, b".")[:28] + version.encode().ljust(4, b".")[:4],
        size=1_000,
        urls=("https://repository.example/base.zip", "http://mirror.example/base.zip"),
    )
    return msgspec.structs.replace(value, **changes)


class World:
    """A node, the index, and bundles that name what they need; what is asked for succeeds."""

    def __init__(self, *found: Located, made: Controller | None = None, **changes: Any) -> None:
        self.made = made or Controller(policy(**({"dependencies": RULES} | changes)), 0.0)
        self.index = {one.module.name: one for one in found}
        self.requires: dict[str, tuple[str, ...]] = {MONITOR.name: (f"{BASE}>=1.1",)}
        self.wishes: dict[str, dict[str, Any]] = {}
        self.held: list[Effect] = []
        self.hold: tuple[type, ...] = ()
        self.done: list[Effect] = []
        self.now = 0.0

    def ask(self, request: Any) -> int:
        code, effects = ask(self.made, request, self.now)
        self.play(effects)
        return code

    def play(self, effects: list[Effect]) -> None:
        todo = list(effects)
        while todo:
            effect = todo.pop(0)
            self.done.append(effect)
            if isinstance(effect, self.hold):
                self.held.append(effect)
            else:
                todo += self.result(effect)

    def release(self) -> None:
        """What was held is done."""
        self.hold, held, self.held = (), self.held, []
        for effect in held:
            self.play(self.result(effect))

    def result(self, effect: Effect) -> list[Effect]:
        life, now = self.made.lifecycle, self.now
        match effect:
            case Locate(job=job, dependency=dependency):
                return life.located(job, dependency, self.index.get(dependency.name, "the index lacks it"), now)
            case Fetch(job=job):
                return life.fetched(job, Path("/spool/some.zip"), now)
            case Verify(job=job):
                return [] if life.job(job) is None else life.verified(job, self.manifest_of(job), now)
            case Install(job=job):
                return life.installed(job, now)
            case Uninstall(job=job):
                return life.removed(job, now)
            case _:
                return []

    def manifest_of(self, number: int) -> Manifest:
        job = self.made.lifecycle.job(number)
        assert job is not None
        wishes = (SERVER if job.is_fetched else {}) | self.wishes.get(job.target.name, {})
        return manifest(job.target, requires=self.requires.get(job.target.name, ()), **wishes)

    def states(self) -> dict[str, str]:
        slots = self.made.lifecycle.slots.values()
        return {str(job.target): job.state.value for slot in slots for job in slot.jobs()}

    def why(self, **changes: Any) -> tuple[int, str]:
        answer, _ = answered(self.made, probe(**changes), self.now)
        return answer.code, answer.text


def test_what_a_module_needs_is_found_fetched_and_installed_before_it() -> None:
    world = World(located())
    assert world.ask(setup()) == 202
    assert world.states() == {str(MONITOR): "active", f"{BASE}_1.2": "active"}
    assert kinds(world.done) == [
        "Remember",
        "Fetch",
        "Verify",
        "Locate",
        "Fetch",
        "Verify",
        "Install",
        "Install",
        "Record",
        "Notify",
    ]
    fetch, verify, install = (next(one for one in world.done[4:] if isinstance(one, kind)) for kind in KINDS)
    assert (fetch.urls, fetch.bytes_max, fetch.user) == (located().urls, 1_000, "alice")
    assert verify.keys == (CAROL.public_key,), "carol has signed it, and nobody else"
    assert (install.installation.account.name, install.installation.packets, install.installation.ports) == (
        "alice",
        None,
        (),
    )
    assert world.made.lifecycle.dependencies == {"searches": 1, "located": 1, "fetched": 1, "failed": 0, "removed": 0}


KINDS: tuple[Any, ...] = (Fetch, Verify, Install)


def test_it_is_told_what_is_waited_for() -> None:
    world = World(located())
    world.hold = (Locate,)
    answer, effects = answered(world.made, setup(dependencies=(Dependency(BASE, "1.1"),)))
    assert answer.text == f"work has begun, and {BASE}>=1.1 has to come for it"
    world.play(effects)
    assert world.why() == (202, f"gathering: {BASE}>=1.1 is looked for")
    held, world.held = world.held, []
    world.hold = (Install,)
    world.play(world.result(held[0]))
    assert world.why() == (202, f"gathering: {BASE}_1.2 is installing")
    world.release()
    assert world.why() == (200, "active")
    assert world.why(target=ModuleRef(BASE, "1.2")) == (200, "active")
    lines = dict(answered(world.made, probe("alice", "modules", target=None))[0].lines)
    assert lines["modules"] == f"{MONITOR} active,{BASE}_1.2 active for {MONITOR}"
    lines = dict(answered(world.made, probe("alice", "status", "policy", target=ModuleRef(BASE, "1.2")))[0].lines)
    assert lines == {
        "status": "active, for 0 s, as long as it is needed",
        "policy": "ttl=none,authorization=none,failure=open",
    }
    assert ask(world.made, probe("bob", target=ModuleRef(BASE, "1.2")))[0] == 404


def test_it_ends_with_the_last_that_needs_it() -> None:
    world = World(located())
    other = ModuleRef("other", "1")
    world.requires[other.name] = (BASE,)
    world.ask(setup())
    world.ask(setup(target=other, filter_ports=(), filter_proto=None))
    assert sum(isinstance(effect, Locate) for effect in world.done) == 1, "it was here already"
    assert world.ask(remove()) == 202
    assert world.states() == {"other_1": "active", f"{BASE}_1.2": "active"}
    world.now = 3_600.0
    world.play(world.made.lifecycle.tick(world.now))
    assert world.states() == {}
    assert kinds(world.done)[-4:] == ["Uninstall", "Forget", "Notify", "Uninstall"], "what it needs stays to its end"


def test_two_that_need_it_at_the_same_time_share_it() -> None:
    world = World(located())
    world.hold = (Locate,)
    world.ask(setup())
    world.requires["other"] = (BASE,)
    world.ask(setup(target=ModuleRef("other", "1")))
    world.release()
    assert world.states() == {str(MONITOR): "active", "other_1": "active", f"{BASE}_1.2": "active"}
    assert sum(isinstance(effect, Install) for effect in world.done) == 3


def test_what_it_needs_itself_comes_and_goes_with_it() -> None:
    world = World(located(), located("NetServ.lower", "3"))
    world.requires[BASE] = ("NetServ.lower", "timers")
    world.ask(setup())
    assert set(world.states().values()) == {"active"}
    assert len(world.states()) == 3
    world.ask(remove())
    assert world.states() == {}
    ended = [effect.job for effect in world.done if isinstance(effect, Uninstall)]
    begun = [effect.job for effect in world.done if isinstance(effect, Install)]
    assert ended == begun[::-1], "what others stand on is there until they have gone"


def too_deep(world: World) -> None:
    for number in range(DEPTH_MAX + 1):
        name = BASE if not number else f"deep{number}"
        world.index[name] = located(name)
        world.requires[name] = (f"deep{number + 1}",)


def circle(world: World) -> None:
    world.index |= {BASE: located(), "b": located("b")}
    world.requires |= {BASE: ("b",), "b": (BASE,)}


FAILURES: list[tuple[Callable[[World], object], str]] = [
    (lambda world: world.index.clear(), f"{BASE}>=1.1 is not here: the index lacks it"),
    (
        lambda world: world.index.update({BASE: located(publisher=DAVE.public_key)}),
        f"{BASE}>=1.1 is not here: {BASE}_1.2 is of a publisher who is not believed here",
    ),
    (
        lambda world: world.index.update({BASE: located(version="1.0")}),
        f"{BASE}>=1.1 is not here: {BASE}_1.0 is something else",
    ),
    (
        lambda world: world.index.update({BASE: located("netserv.BASE")}),
        f"{BASE}>=1.1 is not here: netserv.BASE_1.2 is something else",
    ),
    (
        lambda world: world.index.update({BASE: located(size=17 << 20)}),
        f"{BASE}>=1.1 is not here: {BASE}_1.2 has 17825792 bytes, and may have 16777216 here",
    ),
    (
        lambda world: world.wishes.update({BASE: {"ports": (PortWish("tcp", 8080),)}}),
        f"{BASE}_1.2: what is fetched for other modules is a server without ports, and this is not",
    ),
    (
        lambda world: world.wishes.update({BASE: {"kind": "both"}}),
        f"{BASE}_1.2: what is fetched for other modules is a server without ports, and this is not",
    ),
    (
        lambda world: world.wishes.update({BASE: {"name": "NetServ.other"}}),
        f"{BASE}_1.2: the bundle is NetServ.other_1.2, not {BASE}_1.2",
    ),
    (
        lambda world: world.requires.update({BASE: ("nowhere",)}),
        f"{BASE}_1.2: nowhere is not here: the index lacks it",
    ),
    (
        lambda world: world.requires.update({BASE: ("timers>=2",)}),
        f"{BASE}_1.2: timers>=2 is needed, and 1.0 is here",
    ),
    (circle, f"{BASE}_1.2: b_1.2: {BASE} is not here: it needs b itself"),
    (
        lambda world: world.requires.update({BASE: (MONITOR.name,)}),
        f"{BASE}_1.2: {MONITOR.name} is not here: it needs {BASE} itself",
    ),
    (
        too_deep,
        f"{BASE}_1.2: deep1_1.2: deep2_1.2: deep3_1.2: deep4 is not here: nothing is fetched for what is 4 deep",
    ),
]


@pytest.mark.parametrize(("change", "text"), FAILURES)
def test_a_module_fails_with_the_cause_when_what_it_needs_is_not_to_be_had(
    change: Callable[[World], object], text: str
) -> None:
    world = World(located())
    change(world)
    assert world.ask(setup()) == 202
    assert world.why() == (424, f"failed: {text}")
    assert world.states() == {str(MONITOR): "failed"}, "and nothing of the others is left"
    world.ask(remove())
    assert not world.made.lifecycle.slots
    assert world.made.lifecycle.next_deadline() == float("inf")


@pytest.mark.parametrize(
    "rules",
    [
        DependencyRules(),
        DependencyRules(publishers=RULES.publishers),
    ],
)
def test_nothing_is_looked_for_where_the_operator_does_not_say_so(rules: DependencyRules) -> None:
    world = World(located(), dependencies=rules)
    answer, _ = answered(world.made, setup(dependencies=(Dependency(BASE),)))
    assert (answer.code, answer.text) == (424, f"{BASE} is not here")
    world.ask(setup())
    assert world.why() == (424, f"failed: {BASE}>=1.1 is not here")


def test_the_names_of_blocks_are_the_nodes_own() -> None:
    world = World(located("timers", "9"))
    answer, effects = answered(world.made, setup(dependencies=(Dependency("timers", "2"),)))
    assert (answer.code, answer.text, effects) == (424, "timers>=2 is needed, and 1.0 is here", [])


def test_it_takes_a_place_of_its_publisher() -> None:
    caps = Caps(modules_per_publisher_max=2)
    world = World(located(), caps=caps)
    world.ask(setup())
    answer, _ = answered(world.made, setup(target=ModuleRef("third", "1")))
    assert (answer.code, answer.text) == (429, "alice has 2 modules here, and may have 2")
    world.ask(remove())
    world.ask(setup(target=ModuleRef("first", "1")))
    world.ask(setup())
    assert world.why() == (424, f"failed: {BASE}>=1.1 is not here: alice has 2 modules here, and may have 2")


def test_what_does_not_come_in_time_is_given_up() -> None:
    world = World(located())
    world.hold = (Locate,)
    world.ask(setup())
    assert world.made.lifecycle.next_deadline() == 30.0
    effects = world.made.lifecycle.tick(30.0)
    assert kinds(effects) == ["Abandon", "Notify"]
    assert world.why() == (424, f"failed: {BASE}>=1.1 was not to be had within 30 s")
    stale = world.made.lifecycle.stale
    world.release()
    assert world.made.lifecycle.stale == stale + 1
    assert world.states() == {str(MONITOR): "failed"}


def test_a_remove_ends_what_was_being_prepared_for_it() -> None:
    world = World(located())
    world.hold = (Fetch,)
    world.ask(setup())
    fetch = world.held.pop()
    world.hold = ()
    world.play(world.result(fetch))
    assert world.states() == {str(MONITOR): "active", f"{BASE}_1.2": "active"}
    world = World(located())
    world.hold = (Install,)
    world.ask(setup())
    assert world.states() == {str(MONITOR): "gathering", f"{BASE}_1.2": "installing"}
    assert world.ask(remove()) == 200
    assert world.states() == {}


def test_it_belongs_to_those_that_need_it_and_cannot_be_removed_by_itself() -> None:
    world = World(located())
    world.ask(setup())
    answer, _ = answered(world.made, remove(target=ModuleRef(BASE, "1.2")))
    assert (answer.code, answer.text) == (409, f"{BASE}_1.2 is here for {MONITOR}: REMOVE that")
    assert ask(world.made, remove("bob", target=ModuleRef(BASE, "1.2")))[0] == 404


def test_who_fetches_for_alice_fetches_nothing_for_bob() -> None:
    world = World(located())
    world.ask(setup())
    world.ask(setup("bob"))
    assert sum(isinstance(effect, Install) for effect in world.done) == 4
    world.ask(remove())
    assert [job.key[0] for slot in world.made.lifecycle.slots.values() for job in slot.jobs()] == ["bob", "bob"]


def test_a_module_that_its_publisher_installs_himself_takes_the_place_of_what_was_fetched() -> None:
    world = World(located())
    world.ask(setup())
    own = ModuleRef(BASE, "1.1")  # older than what was fetched, and his own
    assert world.ask(setup(target=own, filter_ports=(), filter_proto=None)) == 202
    assert world.states() == {str(MONITOR): "active", f"{BASE}_1.1": "active"}
    world.ask(remove())
    assert world.states() == {f"{BASE}_1.1": "active"}, "it is his, and stays"


def test_a_name_that_the_publisher_uses_himself_is_never_fetched() -> None:
    world = World(located(version="2"))
    world.ask(setup(target=ModuleRef(BASE, "1.0"), filter_ports=(), filter_proto=None))
    world.ask(setup())
    assert world.why() == (424, f"failed: {BASE}>=1.1 is needed, and 1.0 is here")
    assert not any(isinstance(effect, Locate) for effect in world.done)


def test_a_module_of_the_publisher_that_is_about_to_be_here_is_waited_for() -> None:
    world = World(dependencies=DependencyRules())
    world.hold = (Install,)
    base = ModuleRef(BASE, "1.1")
    world.ask(setup(target=base, filter_ports=(), filter_proto=None))
    world.ask(setup())
    assert world.why() == (202, f"gathering: {BASE}_1.1 is installing")
    world.release()
    assert world.states() == {str(MONITOR): "active", f"{BASE}_1.1": "active"}


def test_a_newer_one_takes_the_place_of_an_older_one_that_was_fetched() -> None:
    world = World(located())
    world.ask(setup())
    world.index[BASE] = located(version="2.1")
    world.requires["other"] = (f"{BASE}>=2",)
    world.ask(setup(target=ModuleRef("other", "1")))
    assert world.states() == {str(MONITOR): "active", "other_1": "active", f"{BASE}_2.1": "active"}


def test_when_it_fails_those_that_need_it_fail() -> None:
    world = World(located())
    world.ask(setup())
    (job,) = (slot.running for slot in world.made.lifecycle.slots.values() if slot.running and slot.running.is_fetched)
    world.play(world.made.lifecycle.failed(job.number, Code.ERROR, "it raises", 5.0))
    assert world.why() == (424, f"failed: {BASE}_1.2: it raises")
    assert world.states() == {str(MONITOR): "failed"}


def test_when_it_is_lost_while_another_is_installed_that_one_fails_too() -> None:
    world = World(located())
    world.ask(setup())
    world.requires["other"] = (BASE,)
    world.hold = (Install,)
    world.ask(setup(target=ModuleRef("other", "1")))
    (job,) = (slot.running for slot in world.made.lifecycle.slots.values() if slot.running and slot.running.is_fetched)
    world.play(world.made.lifecycle.failed(job.number, Code.ERROR, "it raises", 5.0))
    world.release()
    assert world.why(target=ModuleRef("other", "1")) == (424, f"failed: {BASE} has ended")
    assert set(world.states().values()) == {"failed"}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"dependencies": DependencyRules()}, f"failed: {BASE}_1.2: the operator has changed what is allowed"),
        (
            {"dependencies": DependencyRules(fetch=True, publishers={"dave": (DAVE.public_key,)})},
            f"failed: {BASE}_1.2: the operator has changed what is allowed",
        ),
    ],
)
def test_what_the_operator_trusts_no_more_ends_and_those_that_need_it(changes: dict[str, Any], text: str) -> None:
    world = World(located())
    world.ask(setup())
    world.play(world.made.change_policy(policy(**changes), 1.0))
    assert world.why() == (424, text)
    assert world.states() == {str(MONITOR): "failed"}


def test_a_publisher_who_is_known_no_more_leaves_nothing_of_it() -> None:
    world = World(located())
    world.hold = (Install,)
    world.ask(setup())
    world.ask(setup("bob"))
    only_bob = {"bob": publisher("bob", "10.2.0.0/16")}
    world.hold = ()
    world.play(world.made.change_policy(policy(dependencies=RULES, publishers=only_bob), 1.0))
    assert {key[0] for key in world.made.lifecycle.slots} == {"bob"}


def test_a_restart_fetches_again_what_is_needed_and_asks_nobody() -> None:
    world = World(located(), located("NetServ.lower", "3"))
    world.requires[BASE] = ("NetServ.lower",)
    world.ask(setup())
    ((key, entry),) = world.made.entries()
    assert [one.module.name for one in entry.found] == [BASE, "NetServ.lower"]
    assert next(effect for effect in world.done if isinstance(effect, Record)).entry.found == entry.found
    again = World()
    again.requires[BASE] = ("NetServ.lower",)
    again.play(again.made.restore([(key, entry)], [], 100.0))
    assert again.states() == world.states()
    assert not any(isinstance(effect, Locate) for effect in again.done)
    again.ask(remove())
    assert again.states() == {}


def test_a_restart_believes_only_whom_the_operator_believes_now() -> None:
    world = World(located())
    world.ask(setup())
    rules = DependencyRules(fetch=True, publishers={"dave": (DAVE.public_key,)})
    again = World(located(publisher=DAVE.public_key), dependencies=rules)
    again.play(again.made.restore(world.made.entries(), [], 100.0))
    assert again.states() == {str(MONITOR): "active", f"{BASE}_1.2": "active"}, "of dave, whom the index was asked for"
    off = World(located(), dependencies=DependencyRules())
    off.play(off.made.restore(world.made.entries(), [], 100.0))
    assert off.states() == {str(MONITOR): "failed"}
    assert kinds(off.done)[-3:] == ["Verify", "Notify", "Forget"]


def test_a_refresh_while_it_is_gathered_prolongs_it() -> None:
    world = World(located())
    world.hold = (Locate,)
    world.ask(setup())
    assert answered(world.made, setup(ttl_s=50), 1.0)[0].text == "gathering, refreshed"
    world.release()
    assert state_of(world, MONITOR.name) is State.ACTIVE


def state_of(world: World, name: str) -> State:
    return next(world.made.lifecycle.slots["alice", name].jobs()).state
