"""UDP and TCP packets of a capture file; the only file that knows dpkt."""

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import dpkt
import msgspec

from netserv.errors import LocalProtocolError
from netserv.signaling.gist.addresses import Endpoint

RECORD_MAX: Final = 1 << 20
"Bytes of one record; libpcap never writes more than 262,144 of one packet."

_TIME_END: Final = 253_402_300_799
"The last second that a date can be made of."
_PCAPNG: Final = b"\x0a\x0d\x0d\x0a"
_ROUTER_ALERT: Final = 0x94
_ROUTER_ALERT_6: Final = 5
_FIN, _SYN, _RST = 0x01, 0x02, 0x04
_LINKS: Final[dict[int, Any]] = {
    dpkt.pcap.DLT_EN10MB: dpkt.ethernet.Ethernet,
    dpkt.pcap.DLT_LINUX_SLL: dpkt.sll.SLL,
    dpkt.pcap.DLT_LINUX_SLL2: dpkt.sll2.SLL2,
}
_IP_AT: Final = {12: 0, 14: 0, 101: 0, 228: 0, 229: 0, dpkt.pcap.DLT_NULL: 4, dpkt.pcap.DLT_LOOP: 4}
"Link types with nothing but so many bytes before the IP header, of which each system has its own numbers for IPv6."
_STRANGE: Final = (
    dpkt.Error,
    ValueError,
    LookupError,
    ArithmeticError,
    AttributeError,
    TypeError,
    RecursionError,
    struct.error,
)
"What dpkt raises over bytes that make no sense to it."


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """One UDP datagram or TCP segment."""

    number: int
    "In the capture, from 1."
    time: float
    "Unix time; 0 where the capture has none of the years 1970 to 9999."
    tcp: bool
    source: Endpoint
    destination: Endpoint
    ip_ttl: int
    router_alert: bool
    payload: bytes
    missing: int = 0
    "Bytes of the payload that the capture has not: it was cut, or the packet is the first fragment of several."
    sequence: int = 0
    "TCP: of the first byte."
    opens: bool = False
    "TCP: SYN."
    ends: bool = False
    "TCP: FIN."
    breaks: bool = False
    "TCP: RST."


class _Bounded:
    """A file whose records may not be longer than memory allows, whatever their headers say."""

    def __init__(self, file: BinaryIO, first: bytes) -> None:
        self.name = str(getattr(file, "name", ""))
        self._file, self._first = file, first

    def read(self, size: int) -> bytes:
        """Read so many bytes, or none at the end."""
        if not 0 <= size <= RECORD_MAX:
            raise LocalProtocolError(f"a record of {size:,} bytes: the capture is damaged")
        data, self._first = self._first[:size], self._first[size:]
        data += self._file.read(size - len(data)) if len(data) < size else b""
        if data and len(data) < size:
            raise LocalProtocolError("the capture ends in the middle of a record")
        return data


class Capture:
    """A pcap or pcapng file.

    Args:
        file: open for reading; it need not be seekable.

    Raises:
        LocalProtocolError: it is neither, or has frames of a kind that is not known.
    """

    def __init__(self, file: BinaryIO) -> None:
        first = file.read(4)
        bounded = _Bounded(file, first)
        try:
            self._reader: Any = (dpkt.pcapng.Reader if first == _PCAPNG else dpkt.pcap.Reader)(bounded)
        except (*_STRANGE, LocalProtocolError) as error:
            raise LocalProtocolError(f"neither pcap nor pcapng ({error})") from error
        link = self._reader.datalink()
        self._frame, self._ip_at = _LINKS.get(link), _IP_AT.get(link, 0)
        if self._frame is None and link not in _IP_AT:
            known = "Ethernet, raw IP, loopback and Linux cooked frames are"
            raise LocalProtocolError(f"its frames are of link type {link}, which is not known here; {known}")
        self.seen = 0
        "Packets so far, of any protocol."

    def packets(self) -> Iterator[Packet]:
        """Its UDP and TCP packets, in order.

        Raises:
            LocalProtocolError: the file ends in the middle of a record, or is damaged; what was before it has come.
        """
        records = iter(self._reader)
        while True:
            try:
                time, frame = next(records)
            except StopIteration:
                return
            except (*_STRANGE, LocalProtocolError) as error:
                text = f"behind packet {self.seen:,} it cannot be read: {str(error) or type(error).__name__}"
                raise LocalProtocolError(text) from error
            self.seen += 1
            packet = self._packet(float(time) if 0 <= time < _TIME_END else 0.0, frame)
            if packet is not None:
                yield packet

    def _packet(self, time: float, frame: bytes) -> Packet | None:
        try:
            layer = _ip(frame[self._ip_at :]) if self._frame is None else self._frame(frame)
            while not isinstance(layer, dpkt.ip.IP | dpkt.ip6.IP6):
                layer = layer.data
            return _of_ip(self.seen, time, layer)
        except _STRANGE:
            return None  # no packet that concerns us, or none that makes sense


def _ip(data: bytes) -> Any:
    return dpkt.ip6.IP6(data) if data[0] >> 4 == 6 else dpkt.ip.IP(data)


def _of_ip(number: int, time: float, ip: Any) -> Packet | None:
    above = ip.data
    if not isinstance(above, dpkt.udp.UDP | dpkt.tcp.TCP):
        return None
    tcp = isinstance(above, dpkt.tcp.TCP)
    whole = _length_of_tcp(ip, above) if tcp else above.ulen - 8
    flags = above.flags if tcp else 0
    return Packet(
        number=number,
        time=time,
        tcp=tcp,
        source=(ip.src, above.sport),
        destination=(ip.dst, above.dport),
        ip_ttl=ip.ttl if ip.v == 4 else ip.hlim,
        router_alert=_has_router_alert(ip),
        payload=above.data[: max(0, whole)],
        missing=max(0, whole - len(above.data)),
        sequence=above.seq if tcp else 0,
        opens=flags & _SYN != 0,
        ends=flags & _FIN != 0,
        breaks=flags & _RST != 0,
    )


def _length_of_tcp(ip: Any, tcp: Any) -> int:
    # By the IP header: the capture may have less. It says 0 where the network card is to cut the segment.
    there = ip.len - 4 * ip.hl if ip.v == 4 else ip.plen - sum(one.length for one in ip.all_extension_headers)
    return there - 4 * tcp.off if there > 0 else len(tcp.data)


def _has_router_alert(ip: Any) -> bool:
    if ip.v == 4:
        return _ROUTER_ALERT in ip.opts[:1]
    hop_by_hop = ip.extension_hdrs.get(dpkt.ip.IP_PROTO_HOPOPTS)
    return hop_by_hop is not None and any(option["type"] == _ROUTER_ALERT_6 for option in hop_by_hop.options)
