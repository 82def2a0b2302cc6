"""Runs installations by the table of `states`: results of effects come in as calls, and nothing waits."""

import itertools
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from netserv.controller.dependencies import (
    coming,
    fetched_for,
    first_lack,
    located_fault,
    needing,
    unneeded,
    wanted_for,
)
from netserv.controller.effects import Abandon, Effect, Entry, Forget, Locate, Located, ModuleKey, Record, Uninstall
from netserv.controller.jobs import Job, Reason, Slot, Wanted
from netserv.controller.manifest_rules import manifest_fault
from netserv.controller.policy import Policy
from netserv.controller.states import TRANSITIONS, Action, Input, State
from netserv.controller.step_effects import EXPIRED, notify_effects, work_effect
from netserv.errors import LocalProtocolError
from netserv.modules.manifest import Manifest
from netserv.signaling.nslp.codes import Code
from netserv.signaling.nslp.deadlines import Deadlines
from netserv.signaling.nslp.values import Dependency

UNNEEDED = Reason(Code.OK, "no module needs it any more")


class Lifecycle:
    """All installations of a node.

    Args:
        policy: of the operator.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._slots: dict[ModuleKey, Slot] = {}
        self._jobs: dict[int, Job] = {}
        self._ends: Deadlines[int] = Deadlines()
        self._patience: Deadlines[int] = Deadlines()
        "Of those that wait for what they need."
        self._moved: deque[Job] = deque()
        "Installations whose new state may concern others."
        self._numbers = itertools.count(1)
        self.stale = 0
        "Results of work that nobody waited for any more."
        self.dependencies = Counter({"searches": 0, "located": 0, "fetched": 0, "failed": 0, "removed": 0})
        "What became of modules that others need."

    @property
    def slots(self) -> Mapping[ModuleKey, Slot]:
        """The modules that there are, were asked for or have failed."""
        return MappingProxyType(self._slots)

    def slots_of(self, user: str) -> Iterator[Slot]:
        """Those of one publisher."""
        return (slot for key, slot in self._slots.items() if key[0] == user)

    def job(self, number: int) -> Job | None:
        """An installation."""
        return self._jobs.get(number)

    def entry(self, job: Job) -> Entry:
        """An installation for the journal."""
        fetched = fetched_for(job, self._slots)
        return job.entry(tuple((fetched if job.state is State.ACTIVE else {**job.known, **fetched}).values()))

    def begin(
        self,
        wanted: Wanted,
        now: float,
        *,
        unproven: bool,
        restored: float | None = None,
        known: Iterable[Located] = (),
    ) -> list[Effect]:
        """Begin an installation; one of the same module that was being prepared is given up.

        Args:
            wanted: what is asked for.
            now: the time, s.
            unproven: it has to be shown first whose the packets are.
            restored: seconds that are left to what was installed before the node was started again.
            known: what was fetched then since it needs it.
        """
        job = Job(next(self._numbers), wanted, now, restored=restored is not None)
        job.known = {one.module.name: one for one in known}
        if restored is not None:
            job.ends_at = now + restored
        return self._settled(self._begun(job, now, unproven=unproven), now)

    def check_again(self, job: Job, wanted: Wanted, now: float) -> list[Effect]:
        """Prolong an active installation once it has been shown again whose the packets are."""
        job.pending = wanted
        return self._step(job, Input.UNPROVEN, now)

    def prolong(self, job: Job, wanted: Wanted, now: float) -> list[Effect]:
        """Let an installation live as long as a refresh says.

        One for another flow, which passes here as well, takes no time from what the first was promised.
        """
        ends_at = now + wanted.granted_s
        if wanted.flow != job.wanted.flow:
            ends_at = max(ends_at, job.ends_at)
        job.wanted = msgspec.structs.replace(wanted, packets=job.wanted.packets)
        job.ends_at = ends_at
        self._ends.set(job.number, ends_at)
        return [Record(key=job.key, entry=self.entry(job))] if self._slots[job.key].recorded else []

    def end(self, job: Job, reason: Reason, now: float) -> list[Effect]:
        """End an installation, whatever its state."""
        if job.state is State.GONE:  # as it was needed by one that has just been ended
            return []
        return self._settled(self._end(job, reason, now), now)

    def routable(self, number: int, now: float) -> list[Effect]:
        """The host serves the password."""
        return self._result(number, Input.ROUTABLE, now)

    def unroutable(self, number: int, text: str, now: float) -> list[Effect]:
        """It does not."""
        job = self._jobs.get(number)
        if job is not None:
            job.pending = None
            if job.state is State.CHECKING:
                job.failure = Reason.read(Code.FORBIDDEN, text)
        return self._result(number, Input.UNROUTABLE, now)

    def fetched(self, number: int, bundle: Path, now: float) -> list[Effect]:
        """The bundle is here, and its digest is right."""
        job = self._jobs.get(number)
        if job is not None:
            job.bundle = bundle
        return self._result(number, Input.FETCHED, now)

    def verified(self, number: int, manifest: Manifest, now: float) -> list[Effect]:
        """One of the publisher's keys has signed the bundle, and this is its manifest."""
        job = self._jobs.get(number)
        if job is None:
            return self._result(number, Input.VERIFIED, now)
        fault = manifest_fault(manifest, job.wanted, self.policy)
        if fault is not None:
            return self.failed(number, fault.code, fault.text, now)
        job.manifest = manifest
        job.needed = tuple(dict.fromkeys((*job.wanted.setup.dependencies, *manifest.dependencies)))
        return self._settled(self._go_on(job, now), now)

    def located(self, number: int, dependency: Dependency, answer: Located | str, now: float) -> list[Effect]:
        """What the index says of a module that an installation needs; a text says why it says nothing."""
        job = self._jobs.get(number)
        if job is None or job.state is not State.GATHERING:
            self.stale += 1
            return []
        job.searching = False
        if job.lacks != dependency:  # it came meanwhile by another way
            return self._settled(self._go_on(job, now), now)
        fault = answer if isinstance(answer, str) else located_fault(answer, dependency, self.policy)
        if isinstance(answer, str) or fault is not None:
            self.dependencies["failed"] += 1
            return self._settled(self._lost(job, f"{dependency} is not here: {fault}", now), now)
        self.dependencies["located"] += 1
        job.known = {**job.known, dependency.name: answer}
        return self._settled(self._go_on(job, now), now)

    def installed(self, number: int, now: float) -> list[Effect]:
        """The module runs and gets its packets."""
        effects = self._result(number, Input.INSTALLED, now)
        job = self._jobs.get(number)
        if job is not None and job.state is State.ACTIVE:
            names = (dependency for dependency in job.needed if dependency.name not in self.policy.blocks)
            lost = next((each for each in names if coming(each, job.key[0], self._slots) is None), None)
            if lost is not None:
                effects += self._settled(self._lost(job, f"{lost} has ended", now), now)
        return effects

    def failed(self, number: int, code: Code, text: str, now: float) -> list[Effect]:
        """What was to be done for an installation failed; or it was active and is given up by its container."""
        job = self._jobs.get(number)
        if job is not None and job.failure is None:
            job.failure = Reason.read(code, text)
        return self._result(number, Input.FAILURE, now)

    def removed(self, number: int, now: float) -> list[Effect]:
        """Nothing is left of an installation."""
        job = self._jobs.get(number)
        if job is None:
            return self._result(number, Input.REMOVED, now)
        slot = self._slots[job.key]
        broken = job.failure is not None and job.reason is None
        effects = self._result(number, Input.REMOVED_BROKEN if broken else Input.REMOVED, now)
        behind = slot.coming
        if behind is not None and behind.state is State.WAITING:
            effects += self._take_place(slot, behind, now)
            effects += self._step(behind, Input.PLACE_FREE, now)
        return self._settled(effects, now)

    def tick(self, now: float) -> list[Effect]:
        """End what has lived its time, and what has waited too long for what it needs."""
        effects: list[Effect] = []
        for number in self._ends.due(now):
            effects += self.end(self._jobs[number], EXPIRED, now)
        for number in self._patience.due(now):
            job = self._jobs.get(number)
            if job is not None and job.state is State.GATHERING:
                text = f"{job.lacks} was not to be had within {self.policy.dependencies.timeout_s:g} s"
                effects += self._settled(self._lost(job, text, now), now)
        return effects

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""
        return min(self._ends.next(), self._patience.next())

    def _begun(self, job: Job, now: float, *, unproven: bool) -> list[Effect]:
        slot = self._slots.setdefault(job.key, Slot())
        effects: list[Effect] = []
        if slot.coming is not None:
            effects += self._end(slot.coming, Reason(Code.OK, "another request takes its place"), now)
            slot = self._slots.setdefault(job.key, slot)
        slot.coming = job
        slot.recorded = slot.recorded or job.restored
        self._jobs[job.number] = job
        self._ends.set(job.number, job.ends_at)
        effects += self._step(job, Input.UNPROVEN if unproven else Input.GRANTED, now)
        return effects

    def _end(self, job: Job, reason: Reason, now: float) -> list[Effect]:
        if job.reason is None:
            job.reason = reason
        return self._step(job, Input.END, now)

    def _lost(self, job: Job, text: str, now: float) -> list[Effect]:
        """An installation cannot have what it needs."""
        if job.failure is None:
            job.failure = Reason.read(Code.FAILED_DEPENDENCY, text)
        return self._step(job, Input.FAILURE, now)

    def _go_on(self, job: Job, now: float) -> list[Effect]:
        """Install what was verified, once all that it needs is here."""
        lack = first_lack(job.needed, job.key, self._slots, self.policy, depth=job.depth)
        if isinstance(lack, Reason):
            return self._lost(job, lack.text, now)
        job.lacks = lack
        if lack is not None:
            return self._step(job, Input.LACKING, now)
        gathered = job.state is State.GATHERING
        slot = self._slots[job.key]
        if slot.running is not None and slot.running.state is not State.FAILED:
            return self._step(job, Input.COMPLETE_BEHIND if gathered else Input.VERIFIED_BEHIND, now)
        effects = self._take_place(slot, job, now)
        return [*effects, *self._step(job, Input.COMPLETE if gathered else Input.VERIFIED, now)]

    def _gather(self, job: Job, before: State, now: float) -> list[Effect]:
        """Have what an installation lacks searched for, or fetched where it is known already."""
        if before is not State.GATHERING:
            self._patience.set(job.number, now + self.policy.dependencies.timeout_s)
        dependency, user = job.lacks, job.key[0]
        if dependency is None or job.searching or coming(dependency, user, self._slots) is not None:
            return []
        known = job.known.get(dependency.name)
        if known is not None and located_fault(known, dependency, self.policy) is None:
            other = Job(next(self._numbers), wanted_for(job, known), now)
            other.depth, other.known = job.depth + 1, job.known
            return self._begun(other, now, unproven=False)
        job.searching = True
        self.dependencies["searches"] += 1
        return [Locate(job=job.number, user=user, dependency=dependency)]

    def _settled(self, effects: list[Effect], now: float) -> list[Effect]:
        """Let those go on who waited for what has moved, and end what no module needs any more."""
        while self._moved:
            job = self._moved.popleft()
            effects += self._told(job, now)
            for idle in unneeded(self.slots_of(job.key[0])):
                effects += self._end(idle, UNNEEDED, now)
        return effects

    def _told(self, job: Job, now: float) -> list[Effect]:
        """What the new state of an installation means to those that need it."""
        effects: list[Effect] = []
        cause, (user, name) = job.cause, job.key
        for other in needing(name, self.slots_of(user)):
            waits = other.state is State.GATHERING and other.lacks is not None and other.lacks.name == name
            need = other.lacks if waits and other.lacks is not None else Dependency(name)
            if cause is not None and coming(need, user, self._slots) is None:
                if waits or (other.state is State.ACTIVE and job.is_fetched):
                    effects += self._lost(other, f"{job.target}: {cause.text}", now)
            elif waits:
                effects += self._go_on(other, now)
        return effects

    def _result(self, number: int, what: Input, now: float) -> list[Effect]:
        job = self._jobs.get(number)
        if job is None:
            self.stale += 1
            return []
        return self._settled(self._step(job, what, now), now)

    def _step(self, job: Job, what: Input, now: float) -> list[Effect]:
        row = TRANSITIONS.get((job.state, what))
        if row is None:
            raise LocalProtocolError(f"installation {job.number} is {job.state.value}: {what.value} cannot be")
        before = job.state
        job.state, action = row
        if job.state is not before:
            job.since = now
            self._moved.append(job)
        if before is State.GATHERING and job.state is not State.GATHERING:
            self._patience.drop(job.number)
        effects = self._act(job, action, before, now)
        slot = self._slots[job.key]
        if job.state is State.GONE:
            self._drop(slot, job)
        elif job.state is State.REMOVING:
            self._ends.drop(job.number)  # it has ended
        elif before is State.REMOVING:
            self._ends.set(job.number, job.ends_at)
        if slot.recorded and not slot.to_be_recorded:
            slot.recorded = False
            effects.append(Forget(key=job.key))
        return effects

    def _act(self, job: Job, action: Action, before: State, now: float) -> list[Effect]:
        match action:
            case Action.NONE:
                return []
            case Action.CHECK | Action.FETCH | Action.VERIFY | Action.INSTALL:
                return [work_effect(job, action, self.policy)]
            case Action.GATHER:
                return self._gather(job, before, now)
            case Action.REPLACE:
                running = self._slots[job.key].running
                reason = Reason(Code.OK, f"{job.target} takes its place")
                return [] if running is None else self._end(running, reason, now)
            case Action.PROLONG:
                pending, job.pending = job.pending, None
                return [] if pending is None else self.prolong(job, pending, now)
            case Action.UNINSTALL:
                return [Uninstall(job=job.number)]
            case Action.ABANDON | Action.GIVE_UP:
                return [Abandon(job=job.number), *notify_effects(job, action, before)]
            case Action.TELL_ACTIVE:
                return [*self._recorded(job), *notify_effects(job, action, before)]
            case Action.TELL_FAILED | Action.TELL_REMOVED:
                if job.is_fetched:
                    self.dependencies["failed" if action is Action.TELL_FAILED else "removed"] += 1
                return [*notify_effects(job, action, before)]

    def _recorded(self, job: Job) -> list[Effect]:
        """Have an active module in the journal; what was fetched for others is there with them."""
        if job.is_fetched:
            self.dependencies["fetched"] += 1
            return []
        self._slots[job.key].recorded = True
        return [Record(key=job.key, entry=self.entry(job))]

    def _take_place(self, slot: Slot, job: Job, now: float) -> list[Effect]:
        """Let what was prepared be what runs; what has failed there is forgotten."""
        effects = [] if slot.running is None else self._step(slot.running, Input.END, now)
        self._slots[job.key] = slot
        slot.running, slot.coming = job, None
        return effects

    def _drop(self, slot: Slot, job: Job) -> None:
        del self._jobs[job.number]
        self._ends.drop(job.number)
        if slot.coming is job:
            slot.coming = None
        if slot.running is job:
            slot.running = None
        if slot.coming is None and slot.running is None:
            self._slots.pop(job.key, None)
