"""The controller as signalling sees it: answers go back at once, effects to whoever performs them."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from netserv.controller.controller import Controller
from netserv.controller.dependencies import needing, progress
from netserv.controller.effects import Effect
from netserv.controller.jobs import Job
from netserv.controller.states import State
from netserv.signaling.handler import NodeFacts
from netserv.signaling.nslp.codes import NslpError
from netserv.signaling.nslp.handling import Answer, Arrival
from netserv.signaling.nslp.publishers import Publishers
from netserv.signaling.nslp.requests import Request, method_of


class ControllerHandler:
    """A handler for the daemon of a node that runs modules.

    Args:
        controller: decides.
        perform: takes effects, quickly and without waiting.
        clock: that of the calls, s; for how long modules have left.
        beside: what a status shows of the node beside what is known here.
        capabilities: told by PROBE, beside `signalling` and `modules`.
    """

    def __init__(
        self,
        controller: Controller,
        perform: Callable[[list[Effect]], None],
        *,
        clock: Callable[[], float],
        beside: Callable[[], dict[str, Any]] = dict,
        capabilities: tuple[str, ...] = (),
    ) -> None:
        self.controller = controller
        self._perform, self._clock, self._beside = perform, clock, beside
        self._capabilities = ("signalling", "modules", *capabilities)
        self.answered: Counter[tuple[str, int]] = Counter()
        "By method and code, for metrics."

    @property
    def users(self) -> tuple[str, ...]:
        """Names of the publishers, in order."""
        return tuple(sorted(self.controller.policy.publishers))

    def look(self, facts: NodeFacts) -> None:
        """Take newer facts of this machine, for probes."""
        running = [key for key, slot in self.controller.lifecycle.slots.items() if _runs(slot.running)]
        publishers = len({user for user, _ in running})
        state = f"running {len(running)} modules of {publishers} publishers"
        self.controller.facts = msgspec.structs.replace(facts, state=state, capabilities=self._capabilities)

    def take(self, publishers: Publishers) -> None:
        """Nothing: a node has its publishers from `netserv.toml`, with what they may do."""

    def described(self) -> dict[str, Any]:
        """Modules, how often was answered what, and what the node adds."""
        slots = self.controller.lifecycle.slots.values()
        return {
            "modules": [self._module(job) for slot in slots for job in slot.jobs()],
            "answered": {f"{method} {code}": count for (method, code), count in sorted(self.answered.items())},
            "stale_results": self.controller.lifecycle.stale,
            **self._beside(),
        }

    def _module(self, job: Job) -> dict[str, Any]:
        wanted = job.wanted
        found: dict[str, Any] = {
            "job": job.number,
            "user": wanted.setup.user,
            "module": str(job.target),
            "state": job.state.value,
        }
        life = self.controller.lifecycle
        if wanted.located is None:
            left_s = round(max(0.0, job.ends_at - self._clock()), 1)
            found |= {"ttl_s": wanted.granted_s, "authorization": wanted.way or "", "left_s": left_s}
        else:
            others = needing(job.target.name, life.slots_of(wanted.setup.user))
            found["needed_by"] = [str(other.target) for other in others]
            found["signed_by"] = life.policy.dependencies.name_of(wanted.publisher)
        if waits := progress(job, life.slots):
            found["waits_for"] = waits
        if job.failure is not None:
            found |= {"code": int(job.failure.code), "text": job.failure.text}
        return found

    def counters(self) -> dict[str, dict[str, int]]:
        """What became of modules that others need."""
        return {"dependencies": dict(self.controller.lifecycle.dependencies)}

    def keys_for(self, request: Request) -> tuple[bytes, ...]:
        """Keys of the publisher."""
        return self.controller.keys_for(request)

    def handle(self, request: Request, arrival: Arrival, now: float) -> Answer:
        """Answer, and have done what is to be done."""
        try:
            answer, effects = self.controller.decide(request, arrival, now)
        except NslpError as error:
            self.answered[method_of(request), int(error.code)] += 1
            raise
        self.answered[method_of(request), answer.code] += 1
        if effects:
            self._perform(effects)
        return answer

    def refused(self, request: Request, arrival: Arrival, error: NslpError, now: float) -> None:  # noqa: ARG002
        """Count."""
        self.answered[method_of(request), int(error.code)] += 1


def _runs(job: Job | None) -> bool:
    return job is not None and job.state is State.ACTIVE
