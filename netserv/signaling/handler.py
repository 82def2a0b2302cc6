"""How a node's controller answers requests, and the handler of a node without one: it records, and answers PROBE."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from netserv.signaling.nslp.codes import Code, NslpError
from netserv.signaling.nslp.handling import LINES_BYTES_MAX, Answer, Arrival, Handler
from netserv.signaling.nslp.publishers import Publishers
from netserv.signaling.nslp.requests import Probe, Remove, Request, Setup, Trigger
from netserv.signaling.nslp.text import Header

__all__ = ["Answer", "Arrival", "DaemonHandler", "Handler", "InterfaceFacts", "NodeFacts", "Record", "RecordingHandler"]

RECORDS_MAX: Final = 1_024
"Requests that a handler shows; of 8 KiB each at most."
_VALUE_MAX: Final = LINES_BYTES_MAX // 8
"Characters of one probed line: all seven items fit what one answer may say."


class InterfaceFacts(msgspec.Struct, frozen=True):
    """One network interface."""

    name: str
    addresses: tuple[str, ...]
    "With the length of the prefix, `10.0.1.1/24`."


class NodeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a node tells of itself when it is probed."""

    interfaces: tuple[InterfaceFacts, ...] = ()
    uptime_s: float = 0.0
    "Of the daemon."
    load: tuple[float, float, float] = (0.0, 0.0, 0.0)
    "Processes that ran or waited, on average over 1, 5 and 15 minutes."
    state: str = "signalling only"
    "What the node does."
    capabilities: tuple[str, ...] = ("signalling",)
    policy: tuple[Header, ...] = ()
    "Rules of its operator, name and value."
    modules: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A request that has come."""

    at: float
    request: Request
    arrival: Arrival
    code: int
    text: str


class DaemonHandler(Handler, Protocol):
    """What a daemon needs of the handler of its node."""

    @property
    def users(self) -> tuple[str, ...]:
        """Names of the publishers whose requests are accepted, in order."""
        ...

    def described(self) -> dict[str, Any]:
        """What a status shows of the node beside its signalling; of what JSON has."""
        ...

    def counters(self) -> dict[str, dict[str, int]]:
        """What it has counted, by part and name, beside what signalling counts."""
        ...

    def look(self, facts: NodeFacts) -> None:
        """Take newer facts of this machine, for probes."""
        ...

    def take(self, publishers: Publishers) -> None:
        """Take the publishers of the daemon's own file, at its start and when it was read again."""
        ...


class RecordingHandler:
    """Records what has come, and answers PROBE with facts of the node; it runs no modules.

    Args:
        publishers: whose signatures are believed.
        facts: of the node, until `look` brings newer ones.
    """

    def __init__(self, publishers: Publishers, facts: NodeFacts | None = None) -> None:
        self.publishers = publishers
        self.facts = facts or NodeFacts()
        self.records: deque[Record] = deque(maxlen=RECORDS_MAX)

    @property
    def users(self) -> tuple[str, ...]:
        """Names of the publishers."""
        return tuple(sorted(self.publishers.keys))

    def described(self) -> dict[str, Any]:
        """Nothing: there is only signalling."""
        return {}

    def counters(self) -> dict[str, dict[str, int]]:
        """Nothing, likewise."""
        return {}

    def look(self, facts: NodeFacts) -> None:
        """Answer with these from now on."""
        self.facts = facts

    def take(self, publishers: Publishers) -> None:
        """Believe these from now on."""
        self.publishers = publishers

    def keys_for(self, request: Request) -> tuple[bytes, ...]:
        """Keys of the publisher."""
        return () if request.user is None else self.publishers.keys_of(request.user)

    def handle(self, request: Request, arrival: Arrival, now: float) -> Answer:
        """Answer, and record."""
        answer = self._answer(request)
        self._record(request, arrival, answer.code, answer.text, now)
        return answer

    def refused(self, request: Request, arrival: Arrival, error: NslpError, now: float) -> None:
        """Record."""
        self._record(request, arrival, error.code, str(error), now)

    def _answer(self, request: Request) -> Answer:
        match request:
            case Setup():
                # 403, not 5xx: the node is in order and will say the same tomorrow, its operator has it run no modules.
                return Answer(code=Code.FORBIDDEN, text="this node runs no modules: only signalling is switched on")
            case Remove():
                return Answer(code=Code.NOT_FOUND, text=f"module {request.target} is not here")
            case Probe(target=None):
                return Answer(code=Code.OK, lines=probed(self.facts, request.items))
            case Probe():
                return Answer(code=Code.NOT_FOUND, text=f"module {request.target} is not here")
            case Trigger():
                return Answer(code=Code.OK)

    def _record(self, request: Request, arrival: Arrival, code: int, text: str, now: float) -> None:
        self.records.append(Record(at=now, request=request, arrival=arrival, code=code, text=text))


def probed(facts: NodeFacts, items: tuple[str, ...]) -> tuple[Header, ...]:
    """Probed lines of a node, in the order in which they were asked for; last, what it does not know."""
    lines = [_ITEMS[item](facts) for item in items if item in _ITEMS]
    unknown = ",".join(item for item in items if item not in _ITEMS)
    if unknown:
        lines.append(("unsupported", unknown))
    return tuple((name, _short(value)) for name, value in lines)


def _status(facts: NodeFacts) -> Header:
    return "status", f"{facts.state}, up {facts.uptime_s:.0f} s"


def _address(facts: NodeFacts) -> Header:
    # `address` is a line of every entry: that towards the requester. This one has all.
    interfaces = (f"{one.name} {address}" for one in facts.interfaces for address in one.addresses)
    return "addresses", ",".join(interfaces)


def _load(facts: NodeFacts) -> Header:
    return "load", " ".join(f"{value:.2f}" for value in facts.load)


def _policy(facts: NodeFacts) -> Header:
    return "policy", ",".join(f"{name}={value}" for name, value in facts.policy)


_ITEMS: Final[dict[str, Callable[[NodeFacts], Header]]] = {
    "status": _status,
    "address": _address,
    "capabilities": lambda facts: ("capabilities", ",".join(facts.capabilities)),
    "policy": _policy,
    "modules": lambda facts: ("modules", ",".join(facts.modules)),
    "blocks": lambda facts: ("blocks", ",".join(facts.blocks)),
    "load": _load,
}


def _short(value: str) -> str:
    """A value that fits: a node of two hundred interfaces shows those that have room, and that there are more."""
    if len(value.encode()) <= _VALUE_MAX:
        return value
    shortened = value.encode()[: _VALUE_MAX - 4].decode(errors="ignore")
    return f"{shortened.rpartition(',')[0] or shortened},..."
