"""What the NSLP asks of a node: who may sign, and what is to be said to a request."""

from typing import Final, Protocol

import msgspec

from netserv.signaling.nslp.codes import Code, NslpError
from netserv.signaling.nslp.requests import Request
from netserv.signaling.nslp.responses import FIXED, TEXT_MAX
from netserv.signaling.nslp.text import Header, check_header
from netserv.signaling.nslp.values import Flow

LINES_BYTES_MAX: Final = 4_096
"Of the probed lines of one answer: a quarter of a response, so that four nodes that say much still have room."


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """How a request has come."""

    flow: Flow
    "From where to where it travels."
    session: bytes
    "SID of its GIST session."
    interface: int = 0
    "Index of the interface that it came by; 0 where that is not known, and where it began here."
    distance: int = 0
    "IP hops from the node before this one, or from the sender."
    publisher: bytes | None = None
    "Public key that has signed it; None for what is let in without one: a public probe."
    to_flow_endpoint: bool = False
    "This node is where the flow ends."
    secure: bool = False
    "It came over TLS."
    routability_checked: bool = False
    "The node before this one has shown that it receives at the address it claims."


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What this node says to a request."""

    code: int
    text: str = ""
    lines: tuple[Header, ...] = ()
    "Probed lines, `name` and `value`."

    def __post_init__(self) -> None:
        if len(self.text) > TEXT_MAX:
            raise NslpError(f"the text of an answer has {TEXT_MAX} characters at most")
        for name, value in (("text", self.text), *self.lines):
            check_header(name, value)
        names = {name for name, _ in self.lines}
        if len(names) < len(self.lines) or names & set(FIXED):
            raise NslpError("a probed line comes twice, or has the name of another line")
        if sum(len(name) + len(value.encode()) + 2 for name, value in self.lines) > LINES_BYTES_MAX:
            raise NslpError(f"the probed lines have more than {LINES_BYTES_MAX} bytes", code=Code.TOO_LARGE)


class Handler(Protocol):
    """A node's controller, as the NSLP sees it.

    Its methods are quick and wait for nothing: work of its own goes on later, and is answered by 202.
    """

    def keys_for(self, request: Request) -> tuple[bytes, ...]:
        """Public keys one of which must have signed the request; none if nobody here knows its user."""
        ...

    def handle(self, request: Request, arrival: Arrival, now: float) -> Answer:
        """Act on a request whose signature, flow, nonce and expiry are in order; called once for each.

        For a TRIGGER an answer below 300 lets this node send its inner request, which is handled by itself first.

        Raises:
            NslpError: refused; its code and text are the answer.
        """
        ...

    def refused(self, request: Request, arrival: Arrival, error: NslpError, now: float) -> None:
        """Hear of a request that the NSLP itself has refused; nothing is to be done about it."""
        ...
