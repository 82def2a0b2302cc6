"""The controller as the NSLP sees it: answers go back at once, effects to whoever performs them."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from netserv.controller.controller import Controller
from netserv.controller.effects import Effect
from netserv.signaling.handler import NodeFacts
from netserv.signaling.nslp.codes import NslpError
from netserv.signaling.nslp.handling import Answer, Arrival
from netserv.signaling.nslp.publishers import Publishers
from netserv.signaling.nslp.requests import Request, method_of


class ControllerHandler:
    """A `Handler` of the NSLP.

    Args:
        controller: decides.
        perform: takes effects, quickly and without waiting.
    """

    def __init__(self, controller: Controller, perform: Callable[[list[Effect]], None]) -> None:
        self.controller = controller
        self._perform = perform
        self.capabilities: tuple[str, ...] = ("modules",)
        "Of the node, beside signalling."
        self.describe: Callable[[], dict[str, Any]] = dict
        "Tells of modules, containers and packet path; the node puts its own here."
        self.answered: Counter[tuple[str, int]] = Counter()
        "By method and code, for metrics."

    @property
    def users(self) -> tuple[str, ...]:
        """Names of the publishers."""
        return tuple(sorted(self.controller.policy.publishers))

    def described(self) -> dict[str, Any]:
        """What the node tells of modules, containers and packet path."""
        return self.describe()

    def look(self, facts: NodeFacts) -> None:
        """Answer with these from now on, and say that this node runs modules."""
        self.controller.facts = msgspec.structs.replace(
            facts, state="runs modules", capabilities=(*facts.capabilities, *self.capabilities)
        )

    def take(self, publishers: Publishers) -> None:
        """Nothing: those of this node stand in its own settings."""

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
