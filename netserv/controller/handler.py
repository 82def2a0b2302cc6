"""The controller as the NSLP sees it: answers go back at once, effects to whoever performs them."""

from collections import Counter
from collections.abc import Callable

from netserv.controller.controller import Controller
from netserv.controller.effects import Effect
from netserv.signaling.nslp.codes import NslpError
from netserv.signaling.nslp.handling import Answer, Arrival
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
        self.answered: Counter[tuple[str, int]] = Counter()
        "By method and code, for metrics."

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
