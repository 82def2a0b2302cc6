"""What modules send: lines of JSON. Bounded, and one error for all that is none."""

from ipaddress import ip_address
from typing import Annotated, Final, TypeVar

import msgspec

from netserv.errors import RemoteProtocolError

LINE_MAX: Final = 65_536
"Bytes: ten times what a module puts into one."
FLOWS_MAX: Final = 8_192
"In one report: twice what a module counts apart."
COUNT_MAX: Final = (1 << 53) - 1
"What a page's script can count to."

T = TypeVar("T")
_Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
_Address = Annotated[str, msgspec.Meta(max_length=45)]


class Counted(msgspec.Struct, frozen=True, array_like=True):
    """Packets of one source, destination and TTL since the last report."""

    source: _Address
    destination: _Address
    ttl: Annotated[int, msgspec.Meta(ge=0, le=255)]
    packets: _Count

    def __post_init__(self) -> None:
        ip_address(self.source), ip_address(self.destination)


class Hello(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line of a module."""

    token: Annotated[str, msgspec.Meta(max_length=128)]
    interval_s: Annotated[float, msgspec.Meta(gt=0.0, le=3_600.0)]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Part of a report."""

    flows: Annotated[tuple[Counted, ...], msgspec.Meta(max_length=1_024)]
    others: _Count
    "Packets of flows beyond those that the module counts apart."
    done: bool
    "Whether the report is whole."


class Report(msgspec.Struct, frozen=True):
    """All that a node has counted in one interval."""

    flows: tuple[Counted, ...]
    others: int


_hello: Final = msgspec.json.Decoder(Hello)
_line: Final = msgspec.json.Decoder(Line)


def read_hello(line: bytes) -> Hello:
    """The first line.

    Raises:
        RemoteProtocolError: it is none.
    """
    return _read(_hello, line)


class Reports:
    """Puts reports together out of lines."""

    def __init__(self) -> None:
        self._flows: list[Counted] = []
        self._others = 0

    def take(self, line: bytes) -> Report | None:
        """Take one line; a report, if it is whole now.

        Raises:
            RemoteProtocolError: the line is none, or the report too long.
        """
        part = _read(_line, line)
        self._flows += part.flows
        self._others = min(self._others + part.others, COUNT_MAX)
        if len(self._flows) > FLOWS_MAX:
            raise RemoteProtocolError(f"a report of more than {FLOWS_MAX} flows")
        if not part.done:
            return None
        report = Report(tuple(self._flows), self._others)
        self._flows, self._others = [], 0
        return report


def _read(decoder: "msgspec.json.Decoder[T]", line: bytes) -> T:
    if len(line) > LINE_MAX:
        raise RemoteProtocolError(f"a line of more than {LINE_MAX} bytes")
    try:
        return decoder.decode(line)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"no line of a report: {str(error)[:200]}") from None
