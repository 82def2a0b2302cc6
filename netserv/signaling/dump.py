"""Captured GIST traffic as entries, one a message: what `netserv gist-dump` prints."""

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from netserv.signaling.associations_seen import AssociationsSeen, Found
from netserv.signaling.gist.addresses import GIST_PORT, endpoint_text
from netserv.signaling.gist.wire import MAGIC
from netserv.signaling.gist_described import Fields, described, error_name
from netserv.signaling.pcap_io import Packet

VALUE_SHOWN_MAX: Final = 128
"Hexadecimal digits of one value in the text; JSON has all."
_INDENT: Final = "    "
_LABELS: Final = {"nslp_id": "NSLPID", "ip_ttl": "IP TTL", "dscp": "DSCP", "spi": "SPI", "id": "ID"}
_SELF_EVIDENT: Final = frozenset({"value", "error", "profiles"})
"Names whose values say what they are."


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message that was seen, or what should have been one."""

    packet: int
    "Number of the packet that completed it."
    time: float
    transport: str
    "UDP or TCP."
    source: str
    destination: str
    ip_ttl: int
    router_alert: bool = False
    message: Fields | None = None
    wrong: str | None = None
    "Why it cannot be used."


class Dump:
    """Reads packets and says what GIST messages they carry.

    Args:
        udp_port: of GIST.
        tcp_ports: of messaging associations; none: they are recognised by their first message.
    """

    def __init__(self, *, udp_port: int = GIST_PORT, tcp_ports: Collection[int] = ()) -> None:
        self._udp_port = udp_port
        self._associations = AssociationsSeen(tcp_ports)
        self.messages = 0
        self.wrong = 0
        "Entries that cannot be used."

    def entries(self, packets: Iterable[Packet]) -> Iterator[Entry]:
        """The entries of a capture, in the order in which they were completed."""
        last: Packet | None = None
        for packet in packets:
            for found in self._found(packet):
                yield self._entry(packet, found)
            last = packet if packet.tcp else last
        if last is not None:
            for found in self._associations.finish():
                yield self._entry(last, found)

    def _found(self, packet: Packet) -> list[Found]:
        if packet.tcp:
            return self._associations.segment(packet)
        if self._udp_port not in {packet.source[1], packet.destination[1]} or not packet.payload.startswith(MAGIC):
            return []
        message = packet.payload[len(MAGIC) :]
        if packet.missing:
            return [
                Found(packet.source, packet.destination, message, f"the capture lacks its last {packet.missing} bytes")
            ]
        return [Found(packet.source, packet.destination, message)]

    def _entry(self, packet: Packet, found: Found) -> Entry:
        wrong = found.note
        nothing = wrong is not None and not found.data
        message, error = (None, None) if nothing else described(found.data, on_association=packet.tcp)
        if wrong is None and error is not None:
            wrong = f"{error_name(error.code, error.subcode)} ({error})"
        self.messages += 1
        self.wrong += wrong is not None
        return Entry(
            packet=packet.number,
            time=packet.time,
            transport="TCP" if packet.tcp else "UDP",
            source=endpoint_text(found.source),
            destination=endpoint_text(found.destination),
            ip_ttl=packet.ip_ttl,
            router_alert=packet.router_alert,
            message=message,
            wrong=wrong,
        )


def as_text(entry: Entry) -> str:
    """An entry as a block of lines, the last one empty."""
    when = datetime.fromtimestamp(entry.time, UTC).strftime("%Y-%m-%d %H:%M:%S.%fZ")
    alert = ", router alert" if entry.router_alert else ""
    way = f"{entry.transport} {entry.source} > {entry.destination}, IP TTL {entry.ip_ttl}{alert}"
    lines = [f"#{entry.packet} {when} {way}"]
    if entry.wrong is not None:
        lines.append(f"  unreadable: {printable(entry.wrong)}")
    if entry.message is not None:
        lines += _message_lines(entry.message)
    return "\n".join([*lines, ""])


def printable(text: str) -> str:
    """Text without what would move a terminal's cursor or worse."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _message_lines(message: Fields) -> list[str]:
    head = _inline({name: value for name, value in message.items() if name not in {"message", "objects", "version"}})
    lines = [f"  {message['message'] or 'a scrap'}: {head}"]
    for one in message["objects"]:
        rest = dict(one)
        name, text = rest.pop("object"), rest.pop("text", None)
        lines.append(f"{_INDENT}{name}: {_inline(rest)}".rstrip(": "))
        if text is not None:
            lines += [f"{_INDENT}  | {printable(line)}" for line in text.splitlines()]
    return lines


def _inline(value: Any) -> str:
    match value:
        case dict():
            return ", ".join(_labelled(name, inner) for name, inner in value.items())
        case list():
            return " ".join(f"[{_inline(one)}]" if isinstance(one, dict) else _inline(one) for one in value) or "none"
        case bool():
            return "yes" if value else "no"
        case _:
            text = printable(str(value))
            return text if len(text) <= VALUE_SHOWN_MAX else f"{text[:VALUE_SHOWN_MAX]}... ({len(text)} characters)"


def _labelled(name: str, value: Any) -> str:
    text = f"({_inline(value)})" if isinstance(value, dict) else _inline(value)
    if name in _SELF_EVIDENT:
        return text
    if name.endswith("_ms"):
        return f"{name.removesuffix('_ms').replace('_', ' ')} {text} ms"
    return f"{_LABELS.get(name, name.replace('_', ' '))} {text}"
