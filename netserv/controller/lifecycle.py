"""Runs installations by the table of `states`: results of effects come in as calls, and nothing waits."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from netserv.container.installation import Installation
from netserv.controller.dependencies import check_dependencies
from netserv.controller.effects import (
    Abandon,
    CheckRoutability,
    Effect,
    Fetch,
    Forget,
    Install,
    ModuleKey,
    Notify,
    Record,
    Uninstall,
    Verify,
)
from netserv.controller.jobs import Job, Reason, Slot, Wanted
from netserv.controller.manifest_rules import granted_ports, manifest_fault
from netserv.controller.policy import Policy
from netserv.controller.states import TRANSITIONS, Action, Input, State
from netserv.errors import LocalProtocolError
from netserv.modules.manifest import Manifest
from netserv.signaling.nslp.codes import Code
from netserv.signaling.nslp.deadlines import Deadlines

EXPIRED = Reason(Code.GONE, "its time to live is over")


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
        self._numbers = itertools.count(1)
        self.stale = 0
        "Results of work that nobody waited for any more."

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

    def begin(self, wanted: Wanted, now: float, *, unproven: bool, restored: float | None = None) -> list[Effect]:
        """Begin an installation; one of the same module that was being prepared is given up.

        Args:
            wanted: what is asked for.
            now: the time, s.
            unproven: it has to be shown first whose the packets are.
            restored: seconds that are left to what was installed before the node was started again.
        """
        slot = self._slots.setdefault(wanted.key, Slot())
        effects: list[Effect] = []
        if slot.coming is not None:
            effects += self.end(slot.coming, Reason(Code.OK, "another request takes its place"), now)
            slot = self._slots.setdefault(wanted.key, slot)
        job = Job(next(self._numbers), wanted, now, restored=restored is not None)
        slot.coming = job
        if restored is not None:
            slot.recorded = True
            job.ends_at = now + restored
        self._jobs[job.number] = job
        self._ends.set(job.number, job.ends_at)
        effects += self._step(job, Input.UNPROVEN if unproven else Input.GRANTED, now)
        return effects

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
        return [Record(key=job.key, entry=job.entry())] if self._slots[job.key].recorded else []

    def end(self, job: Job, reason: Reason, now: float) -> list[Effect]:
        """End an installation, whatever its state."""
        if job.reason is None:
            job.reason = reason
        return self._step(job, Input.END, now)

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
        setup = job.wanted.setup
        needed = dict.fromkeys((*setup.dependencies, *manifest.dependencies))
        fault = manifest_fault(manifest, setup, self.policy) or check_dependencies(
            needed, self.policy, self.active_of(setup.user)
        )
        if fault is not None:
            return self.failed(number, fault.code, fault.text, now)
        job.manifest = manifest
        slot = self._slots[job.key]
        if slot.running is not None and slot.running.state is not State.FAILED:
            return self._result(number, Input.VERIFIED_BEHIND, now)
        return [*self._take_place(slot, job, now), *self._result(number, Input.VERIFIED, now)]

    def installed(self, number: int, now: float) -> list[Effect]:
        """The module runs and gets its packets."""
        return self._result(number, Input.INSTALLED, now)

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
        coming = slot.coming
        if coming is not None and coming.state is State.WAITING:
            effects += self._take_place(slot, coming, now)
            effects += self._step(coming, Input.PLACE_FREE, now)
        return effects

    def tick(self, now: float) -> list[Effect]:
        """End what has lived its time."""
        effects: list[Effect] = []
        for number in self._ends.due(now):
            effects += self.end(self._jobs[number], EXPIRED, now)
        return effects

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""
        return self._ends.next()

    def _result(self, number: int, what: Input, now: float) -> list[Effect]:
        job = self._jobs.get(number)
        if job is None:
            self.stale += 1
            return []
        return self._step(job, what, now)

    def _step(self, job: Job, what: Input, now: float) -> list[Effect]:
        row = TRANSITIONS.get((job.state, what))
        if row is None:
            raise LocalProtocolError(f"installation {job.number} is {job.state.value}: {what.value} cannot be")
        before = job.state
        job.state, action = row
        if job.state is not before:
            job.since = now
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
            case Action.CHECK:
                return [self._check(job.pending or job.wanted, job.number)]
            case Action.FETCH:
                setup = job.wanted.setup
                most = self.policy.caps.bundle_bytes_max
                return [Fetch(job=job.number, user=setup.user, url=setup.url, digest=setup.digest, bytes_max=most)]
            case Action.VERIFY:
                keys = self.policy.keys_of(job.wanted.setup.user)
                return [Verify(job=job.number, digest=job.wanted.setup.digest, keys=keys)]
            case Action.REPLACE:
                running = self._slots[job.key].running
                return (
                    []
                    if running is None
                    else self.end(running, Reason(Code.OK, f"{job.wanted.setup.target} takes its place"), now)
                )
            case Action.INSTALL:
                return [Install(job=job.number, installation=self._installation(job))]
            case Action.PROLONG:
                pending, job.pending = job.pending, None
                return [] if pending is None else self.prolong(job, pending, now)
            case Action.UNINSTALL:
                return [Uninstall(job=job.number)]
            case Action.ABANDON:
                return [Abandon(job=job.number), *self._notified(job, action, before)]
            case Action.TELL_ACTIVE:
                slot = self._slots[job.key]
                slot.recorded = True
                return [Record(key=job.key, entry=job.entry()), *self._notified(job, action, before)]
            case Action.TELL_FAILED | Action.TELL_REMOVED:
                return self._notified(job, action, before)

    def _check(self, wanted: Wanted, number: int) -> CheckRoutability:
        packets, password = wanted.packets, wanted.setup.password
        if packets is None or password is None:
            raise LocalProtocolError(f"installation {number} has nothing to show")
        return CheckRoutability(
            job=number,
            user=wanted.setup.user,
            address=packets.destination.network_address,
            port=self.policy.routability_port,
            module=wanted.setup.target,
            password=password,
        )

    def _installation(self, job: Job) -> Installation:
        wanted, (bundle, manifest) = job.wanted, job.verified()
        rules = self.policy.publishers[wanted.setup.user]
        packets = wanted.packets
        return Installation(
            account=rules.account,
            manifest=msgspec.structs.replace(manifest, failure=self.policy.failure_of(manifest.failure)),
            bundle=bundle,
            properties=wanted.setup.properties,
            packets=None if packets is None else msgspec.structs.replace(packets, prematch=manifest.prematch),
            ports=granted_ports(manifest, rules),
        )

    def _notified(self, job: Job, action: Action, before: State) -> list[Effect]:
        """The notification of a step, if its publisher wants one and it is news to him."""
        url = job.notification
        if url is None:
            return []
        was_active = job.restored or before is State.REMOVING
        if action is Action.TELL_ACTIVE:
            left_s = job.ends_at - job.since
            again = ", again after a restart of the node" if job.restored else ""
            reason = Reason(Code.OK, f"active for {left_s:.0f} s{again}")
            was_active = False
        elif action is Action.TELL_FAILED:
            reason = job.failure or Reason(Code.ERROR, "failed")
        else:
            reason = job.reason or EXPIRED
            if action is Action.ABANDON and reason is not EXPIRED and not was_active:
                return []  # who asks for the end of what has not begun has his answer
        return [
            Notify(
                url=url,
                event="removed" if was_active else "installed",
                user=job.wanted.setup.user,
                module=job.wanted.setup.target,
                code=reason.code,
                text=reason.text,
            )
        ]

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

    def active_of(self, user: str) -> dict[str, str]:
        """Modules of a publisher that run, with their versions."""
        return {
            slot.running.manifest.name: slot.running.manifest.version
            for slot in self.slots_of(user)
            if slot.running is not None and slot.running.manifest is not None and slot.running.state is State.ACTIVE
        }
