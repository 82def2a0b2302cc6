"""Any requests, results, clocks and restarts in any order: what holds always.

Nothing is active past its time, nobody ends another's module, one module has one place, what was fetched for others is
there as long as they are, and the journal says what the memory says.
"""

import tempfile
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from netserv.controller.controller import Controller
from netserv.controller.effects import (
    Abandon,
    CheckRoutability,
    Effect,
    Fetch,
    Install,
    Locate,
    Uninstall,
    Verify,
)
from netserv.controller.journal import Clock, Journal
from netserv.controller.states import State
from netserv.signaling.nslp.codes import Code
from netserv.signaling.nslp.values import ModuleRef
from tests.netserv.controller.test_dependencies import RULES, located
from tests.netserv.controller.wishes import ask, manifest, policy, probe, remove, setup

USERS = ("alice", "bob")
NAMES = ("watch", "answer", "base")
REQUIRES = {"watch": ("base",), "base": ("lower>=1.0",)}
"`answer` needs nothing; `base` may be the publisher's own, and what it needs is in the index alone."
MODULES = st.builds(ModuleRef, st.sampled_from(NAMES), st.sampled_from(("1.0", "1.1")))
STEPS = st.one_of(
    st.tuples(
        st.just("setup"),
        st.sampled_from(USERS),
        MODULES,
        st.integers(1, 400),
        st.sampled_from((None, "a", "b")),
        st.booleans(),
    ),
    st.tuples(st.just("remove"), st.sampled_from(USERS), MODULES),
    st.tuples(st.just("probe"), st.sampled_from(USERS), MODULES),
    st.tuples(st.just("pass"), st.floats(0.0, 300.0)),
    st.tuples(st.just("result"), st.integers(0, 1_000), st.sampled_from((True, True, True, False))),
    st.just(("settle",)),
    st.just(("settle",)),
    st.tuples(st.just("died"), st.integers(0, 1_000)),
    st.tuples(st.just("restart"), st.floats(0.0, 100.0), st.floats(-1e6, 1e6), st.booleans()),
)
PASSWORDS = [f"{number:06d}_abcdefghijklmnop" for number in range(2_000)]


class Node:
    """A controller with its journal, and a world that answers when it is told to."""

    def __init__(self, directory: Path) -> None:
        self.now = 1_000.0
        self.boot, self.boot_s, self.wall_s = "first", 5_000.0, 1_800_000_000.0
        self.path = directory / "journal"
        self.loaded: dict[int, tuple[str, str]] = {}
        self.pending: list[Effect] = []
        self.passwords = iter(PASSWORDS)
        self.promised: dict[tuple[str, str], float] = {}
        "Latest end that was granted to anybody for a module, on the clock `age`."
        self.age = 0.0
        "Time that has passed in truth, restarts included."
        self.controller = Controller(policy(dependencies=RULES), self.now)
        self.journal = Journal.open(self.path, self.clock())
        self.journal.load(self.clock(), self.now)

    def clock(self) -> Clock:
        return Clock(boot=self.boot, boot_s=self.boot_s, wall_s=self.wall_s)

    def elapse(self, seconds: float) -> None:
        self.now += seconds
        self.boot_s += seconds
        self.wall_s += seconds
        self.age += seconds

    def take(self, effects: list[Effect]) -> None:
        self.journal.write(effects, self.clock(), self.now)
        for effect in effects:
            match effect:
                case Abandon(job=job):
                    self.pending = [one for one in self.pending if getattr(one, "job", None) != job]
                case Uninstall(job=job):
                    # An installation that is under way is cancelled, as `Performer` does.
                    self.pending = [one for one in self.pending if getattr(one, "job", None) != job]
                    self.pending.append(effect)
                case CheckRoutability() | Locate() | Fetch() | Verify() | Install():
                    self.pending.append(effect)
                case _:
                    pass

    def result(self, which: int, good: bool) -> None:
        if not self.pending:
            return
        effect = self.pending.pop(which % len(self.pending))
        life, now = self.controller.lifecycle, self.now
        match effect:
            case CheckRoutability(job=job):
                self.take(life.routable(job, now) if good else life.unroutable(job, "no", now))
            case Uninstall(job=job):
                self.loaded.pop(job, None)
                self.take(life.removed(job, now))
            case Locate(job=job, dependency=dependency):
                version = ("1.0", "1.1")[which % 2]
                self.take(life.located(job, dependency, located(dependency.name, version) if good else "no", now))
            case _ if not good:
                self.take(life.failed(effect.job, Code.ERROR, "no", now))  # type: ignore[union-attr]
            case Fetch(job=job):
                self.take(life.fetched(job, Path("/bundle"), now))
            case Verify(job=job):
                made = life.job(job)
                assert made is not None
                kind = "server" if made.is_fetched else "both"
                wishes = {"kind": kind, "requires": REQUIRES.get(made.target.name, ())}
                self.take(life.verified(job, manifest(made.target, **wishes), now))
            case Install(job=job):
                made = life.job(job)
                assert made is not None
                assert made.key not in self.loaded.values(), "two in one place"
                self.loaded[job] = made.key
                self.take(life.installed(job, now))

    def settle(self) -> None:
        """All that is under way succeeds."""
        while self.pending:
            self.result(0, good=True)

    def died(self, which: int) -> None:
        jobs = [job for job in self.loaded if self.state_of(job) is State.ACTIVE]
        if jobs:
            self.take(self.controller.lifecycle.failed(jobs[which % len(jobs)], Code.ERROR, "died", self.now))

    def state_of(self, number: int) -> State | None:
        job = self.controller.lifecycle.job(number)
        return None if job is None else job.state

    def restart(self, down_s: float, wall_jump_s: float, reboot: bool) -> None:
        """The node is killed, and starts again on clocks that have moved."""
        self.journal.close()
        self.loaded, self.pending = {}, []
        self.elapse(down_s)
        self.wall_s += wall_jump_s
        if reboot:
            self.boot, self.boot_s = f"{self.boot}+", 10.0
            if wall_jump_s < 0:
                # Nobody can know how long it was down: so much longer what it had may live.
                self.age -= down_s
        self.now = 77.0
        self.controller = Controller(policy(dependencies=RULES), self.now)
        self.journal = Journal.open(self.path, self.clock())
        kept = self.journal.load(self.clock(), self.now)
        self.take(self.controller.restore(kept.entries, kept.nonces, self.now))

    def tick(self) -> None:
        self.take(self.controller.lifecycle.tick(self.now))

    def check(self) -> None:
        life = self.controller.lifecycle
        for number in self.loaded:
            job = life.job(number)
            assert job is not None, "loaded, and nobody knows it"
            assert job.state in {State.ACTIVE, State.REMOVING}
            if job.state is State.ACTIVE and not job.is_fetched:
                assert job.ends_at > self.now
                assert self.age <= self.promised[job.key] + 1e-3, "active past what was granted"
        in_journal = {(user, name) for user, name in self.journal._database.execute("SELECT user, name FROM modules")}
        recorded = {key for key, slot in life.slots.items() if slot.recorded}
        assert in_journal == recorded == {key for key, _ in self.controller.entries()}
        jobs = [job for slot in life.slots.values() for job in slot.jobs()]
        assert {job.key for job in jobs if job.state is State.ACTIVE and not job.is_fetched} <= in_journal
        # What ends has what it needs until it has ended.
        needed = {job.key for job in jobs if job.state is State.REMOVING or not (job.is_fetched or job.failure)}
        for _ in range(len(jobs)):
            needed |= {(job.key[0], each.name) for job in jobs if job.key in needed for each in job.needed}
        for job in jobs:
            assert not job.is_fetched or job.state is State.REMOVING or job.key in needed, "nobody needs it"
            assert (job.state is State.GATHERING) == (job.number in life._patience._at)


def perform(node: Node, step: tuple[Any, ...]) -> None:
    word, *rest = step
    acts: dict[str, Callable[..., object]] = {
        "setup": lambda *values: ask_setup(node, *values),
        "remove": lambda user, target: ask_remove(node, user, target),
        "probe": lambda user, target: ask(node.controller, probe(user, target=target), node.now),
        "pass": node.elapse,
        "result": node.result,
        "settle": node.settle,
        "died": node.died,
        "restart": node.restart,
    }
    acts[word](*rest)
    node.tick()
    node.check()


def ask_setup(node: Node, user: str, target: ModuleRef, ttl_s: int, prop: str | None, far: bool) -> None:
    changes: dict[str, Any] = {"target": target, "ttl_s": ttl_s}
    if prop is not None:
        changes["properties"] = (("p", prop),)
    if far:
        changes |= {"filter_dst": ip_network("192.0.2.9/32"), "password": next(node.passwords)}
    code, effects = ask(node.controller, setup(user, **changes), node.now)
    if code < 300:
        key = (user, target.name)
        # A refresh that has to be shown to be rightful counts from when it is; 400 s bound what is under way.
        node.promised[key] = max(node.promised.get(key, 0.0), node.age + ttl_s + (400.0 if far else 0.0))
    node.take(effects)


def ask_remove(node: Node, user: str, target: ModuleRef) -> None:
    others = {
        number: node.state_of(number)
        for key, slot in node.controller.lifecycle.slots.items()
        if key[0] != user
        for number in [job.number for job in slot.jobs()]
    }
    _, effects = ask(node.controller, remove(user, target=target), node.now)
    node.take(effects)
    assert others == {number: node.state_of(number) for number in others}


@settings(max_examples=80)
@given(st.lists(STEPS, max_size=60))
def test_nothing_outlives_its_time_and_the_journal_agrees(steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        node = Node(Path(directory))
        for step in steps:
            perform(node, step)
        for _ in range(200):  # whatever was begun comes to an end
            node.result(0, good=True)
            node.elapse(100.0)
            node.tick()
            node.check()
        assert not node.pending
        assert not node.loaded
        assert not node.controller.lifecycle.slots
        assert node.controller.entries() == []
        node.journal.close()
