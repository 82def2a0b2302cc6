"""mDNS packets as tshark decodes them: an oracle that shares no code with ours."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tools.netlab_capture import Capture

SECTIONS = {"Answers": "answer", "Authoritative nameservers": "authority", "Additional records": "additional"}
UNIQUE = {"SRV", "TXT", "A", "AAAA", "NSEC"}
FLUSH = ", cache flush"


@dataclass(frozen=True)
class Asked:
    """One question."""

    name: str
    type: str
    unicast: bool


@dataclass(frozen=True)
class Said:
    """One record; `text` is what tshark says of it, without the cache-flush bit: the same text is the same record."""

    section: str
    text: str
    name: str
    type: str
    flush: bool
    ttl_s: int
    fields: dict[str, Any]


@dataclass(frozen=True)
class Packet:
    """One mDNS packet."""

    at: float
    "Seconds since 1970."
    version: int
    "Of IP."
    to: str
    hops: int
    "TTL or hop limit, as it was received."
    port: int
    "Where it came from."
    is_response: bool
    flags: int
    asked: tuple[Asked, ...]
    said: tuple[Said, ...]

    @property
    def is_multicast(self) -> bool:
        return self.to in {"224.0.0.251", "ff02::fb"}

    @property
    def is_probe(self) -> bool:
        return not self.is_response and any(one.type == "ANY" for one in self.asked)

    def of(self, section: str) -> list[Said]:
        return [one for one in self.said if one.section == section]


def _entries(layer: dict[str, Any], section: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the text and the fields of the entries of a section; what has the same text twice is a list."""
    for text, fields in layer.get(section, {}).items():
        for one in fields if isinstance(fields, list) else [fields]:
            yield text, one


def _words(text: str) -> tuple[str, str]:
    """Return name and type: `host.local: type A, class IN, addr 198.51.100.7`."""
    name, _, rest = text.rpartition(": type ")
    return name, rest.partition(",")[0].partition(" ")[0]


def _packet(frame: dict[str, Any]) -> Packet:
    mdns, udp = frame["mdns"], frame["udp"]
    asked = []
    for text, fields in _entries(mdns, "Queries"):
        name, rrtype = _words(text)
        asked.append(Asked(name, rrtype, fields["dns.qry.qu"] == "1"))
    said = []
    for section, ours in SECTIONS.items():
        for text, fields in _entries(mdns, section):
            name, rrtype = _words(text)
            flush, ttl_s = fields["dns.resp.cache_flush"] == "1", int(fields["dns.resp.ttl"])
            said.append(Said(ours, text.replace(FLUSH, ""), name, rrtype, flush, ttl_s, fields))
    flags = int(mdns["dns.flags"], 16)
    return Packet(
        at=float(frame["frame"]["frame.time_epoch"]),
        version=4 if "ip" in frame else 6,
        to=frame["ip"]["ip.dst"] if "ip" in frame else frame["ipv6"]["ipv6.dst"],
        hops=int(frame["ip"]["ip.ttl"] if "ip" in frame else frame["ipv6"]["ipv6.hlim"]),
        port=int(udp["udp.srcport"]),
        is_response=bool(flags & 0x8000),
        flags=flags,
        asked=tuple(asked),
        said=tuple(said),
    )


def packets_of(capture: Capture, mac: str) -> list[Packet]:
    """Return what a host has sent as mDNS, without its announcement as a host of the DHT (by python-zeroconf)."""
    frames = capture.frames(f"mdns && eth.src == {mac}")
    packets = [_packet(frame) for frame in frames if "_mdht._udp" not in str(frame["mdns"])]
    return [one for one in packets if not any("mdht-" in said.name for said in (*one.said, *one.asked))]
