"""The node's side of the bootstrap server, as a core without I/O (thesis section 2.3): ask for a contact, report."""

import math
from collections.abc import Callable, Mapping
from enum import Enum
from random import Random
from typing import Final

import msgspec

from dhtboot.bootstrap_messages import (
    AddressChallenge,
    BootstrapPacket,
    ContactReply,
    ContactRequest,
    JoinAccepted,
    JoinReport,
    LeaveReport,
    TryLater,
)
from dhtboot.effects import Effect, Send
from dhtboot.ids import Address, NodeRef, id_bytes

OnContact = Callable[[NodeRef | None, float], None]
"Called with a contact, or None for the node that begins the overlay, and the time."

PAUSE_MIN_S: Final = 0.1
PAUSE_MAX_S: Final = 600.0
"Bounds of what a server may ask for with `TryLater` and lease."


class ClientConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Checked settings."""

    timeout_s: float = 1.5
    "A request not answered within so long is sent again [the RPC timeout of thesis 2.4.1]."
    timeout_max_s: float = 30.0
    "The time doubles up to this; the server may come back at any time."

    def __post_init__(self) -> None:
        if not 0 < self.timeout_s <= self.timeout_max_s:
            raise ValueError("timeouts must satisfy 0 < timeout_s <= timeout_max_s")


class Phase(Enum):
    """What the client wants of the server."""

    IDLE = "idle"
    ASKING = "asking"
    "A contact."
    REPORTING = "reporting"
    "To be put on the list."
    LISTED = "listed"
    "Nothing, until half of the lease is over."


class ClientInput(Enum):
    """What can happen."""

    ASK = "ask"
    "The node wants a contact."
    REPORT = "report"
    "The node has joined."
    CONTACT = "contact"
    "The server has given one."
    ACCEPTED = "accepted"
    "The server has put the node on its list."
    RENEWAL_DUE = "renewal_due"
    LEAVE = "leave"


class ClientAction(Enum):
    """What the client does on a step."""

    NONE = "none"
    SEND = "send"
    "What the new phase wants."
    HAND_ON = "hand_on"
    "Give the contact to the node."
    WAIT = "wait"
    "Half of the lease."


TRANSITIONS: Final[Mapping[tuple[Phase, ClientInput], tuple[Phase, ClientAction]]] = {
    (Phase.IDLE, ClientInput.ASK): (Phase.ASKING, ClientAction.SEND),
    (Phase.ASKING, ClientInput.CONTACT): (Phase.IDLE, ClientAction.HAND_ON),
    (Phase.IDLE, ClientInput.REPORT): (Phase.REPORTING, ClientAction.SEND),
    # It has joined while it asked for another contact.
    (Phase.ASKING, ClientInput.REPORT): (Phase.REPORTING, ClientAction.SEND),
    (Phase.REPORTING, ClientInput.ACCEPTED): (Phase.LISTED, ClientAction.WAIT),
    (Phase.LISTED, ClientInput.RENEWAL_DUE): (Phase.REPORTING, ClientAction.SEND),
    # It has lost the overlay.
    (Phase.REPORTING, ClientInput.ASK): (Phase.ASKING, ClientAction.SEND),
    (Phase.LISTED, ClientInput.ASK): (Phase.ASKING, ClientAction.SEND),
    (Phase.ASKING, ClientInput.LEAVE): (Phase.IDLE, ClientAction.NONE),
    (Phase.REPORTING, ClientInput.LEAVE): (Phase.IDLE, ClientAction.NONE),
    (Phase.LISTED, ClientInput.LEAVE): (Phase.IDLE, ClientAction.NONE),
}
"A pair that is not listed changes nothing: a second answer, say."


class BootstrapClient:
    """Asks the server for a contact and reports the node to it, again and again until it answers.

    Args:
        identifier: the node's.
        server: where the server listens.
        config: settings.
        rng: source of all chance, unpredictable on a real network.
        on_contact: called, from within `receive`, with each contact asked for.

    Attributes:
        ignored: packets that were no answer to what we asked, or not from the server.
    """

    __slots__ = (
        "_challenged",
        "_config",
        "_cookie",
        "_due_at",
        "_id_bytes",
        "_on_contact",
        "_request_id",
        "_rng",
        "_server",
        "_timeout_s",
        "ignored",
        "phase",
    )

    def __init__(
        self, identifier: int, server: Address, config: ClientConfig, rng: Random, *, on_contact: OnContact
    ) -> None:
        self.phase = Phase.IDLE
        self.ignored = 0
        self._id_bytes = id_bytes(identifier)
        self._server = server
        self._config = config
        self._rng = rng
        self._on_contact = on_contact
        self._cookie = b""
        self._request_id = 0
        self._challenged = False
        self._timeout_s = config.timeout_s
        self._due_at = math.inf

    @property
    def server(self) -> Address:
        """Where it is."""
        return self._server

    # ---- the node's wishes ---------------------------------------------------------------------------------------

    def ask(self, now: float) -> list[Effect]:
        """Ask for a contact."""
        return self._on_input(ClientInput.ASK, now)

    def report(self, now: float) -> list[Effect]:
        """Report that the node has joined, and renew that for ever."""
        return self._on_input(ClientInput.REPORT, now)

    def leave(self, now: float) -> list[Effect]:
        """Have the node taken off the list; one packet, without guarantee: the lease ends anyway."""
        listed = self.phase in {Phase.LISTED, Phase.REPORTING}
        self._on_input(ClientInput.LEAVE, now)
        return [Send(self._server, BootstrapPacket(self._id_bytes, 0, LeaveReport(), self._cookie))] if listed else []

    # ---- driver's side -------------------------------------------------------------------------------------------

    def receive(self, packet: BootstrapPacket, source: Address, now: float) -> list[Effect]:
        """Act on a packet of the server."""
        if source != self._server or not self._request_id or packet.request_id != self._request_id:
            self.ignored += 1
            return []
        match packet.message:
            case ContactReply(contact=contact, cookie=cookie) if self.phase is Phase.ASKING:
                self._cookie = cookie or self._cookie
                self._on_input(ClientInput.CONTACT, now)
                self._on_contact(contact, now)
            case JoinAccepted(lease_s=lease_s) if self.phase is Phase.REPORTING:
                self._on_input(ClientInput.ACCEPTED, now)
                self._due_at = now + _bounded(lease_s / 2.0)
            case AddressChallenge(cookie=cookie) if not self._challenged:
                self._challenged = True  # a server that wants a cookie each time would keep us asking for ever
                self._cookie = cookie
                return self._send(now)
            case TryLater(retry_after_s=pause_s):
                self._close()
                self._due_at = now + _bounded(pause_s)
            case _:
                self.ignored += 1
        return []

    def tick(self, now: float) -> list[Effect]:
        """Send again, or renew the lease."""
        if now < self._due_at:
            return []
        if self.phase is Phase.LISTED:
            return self._on_input(ClientInput.RENEWAL_DUE, now)
        if self._request_id:  # silence
            self._timeout_s = min(2.0 * self._timeout_s, self._config.timeout_max_s)
        self._challenged = False
        return self._send(now)

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""
        return self._due_at

    # ---- inside --------------------------------------------------------------------------------------------------

    def _on_input(self, event: ClientInput, now: float) -> list[Effect]:
        before = self.phase
        self.phase, action = TRANSITIONS.get((before, event), (before, ClientAction.NONE))
        if self.phase is not before:
            self._close()
        return self._send(now) if action is ClientAction.SEND else []

    def _close(self) -> None:
        """Nothing is asked any more."""
        self._request_id = 0
        self._challenged = False
        self._timeout_s = self._config.timeout_s
        self._due_at = math.inf

    def _send(self, now: float) -> list[Effect]:
        self._request_id = self._rng.getrandbits(64) or 1
        self._due_at = now + self._timeout_s
        message = ContactRequest() if self.phase is Phase.ASKING else JoinReport()
        return [Send(self._server, BootstrapPacket(self._id_bytes, self._request_id, message, self._cookie))]


def _bounded(pause_s: float) -> float:
    """A pause within the bounds, whatever the server says; not a number counts as the longest."""
    return max(PAUSE_MIN_S, pause_s) if pause_s < PAUSE_MAX_S else PAUSE_MAX_S
