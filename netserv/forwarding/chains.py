"""The rules of filters in the table `mangle`: one chain of our own, and guards in PREROUTING that jump to it.

A packet is handed over before it is routed, as it came; what a module makes of it is routed afterwards. Most packets
are not for modules, and all that they meet are the guards, which compare ports: a rule costs each packet 10 to 20 ns
here, a jump as much again. In the chain addresses are compared first, since looking up the kind of one costs as much
as a route.
"""

import itertools
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from netserv.errors import SystemRefusedError
from netserv.forwarding.filters import PacketFilter, Prefix
from netserv.modules.manifest import Prematch
from netserv.signaling.transport import xtables

log = logging.getLogger(__name__)

CHAIN: Final = "NETSERV-PATH"
_LEAVE: Final = f"-A {CHAIN} -i lo -j RETURN"
"What this machine sends to itself is nobody's; here and not in the guards, as all packets would pay for it."
_PORTS_OF_RULE: Final = 15
"Ports that the match `multiport` takes."
_TRANSPORT: Final = {
    (4, "udp"): "0>>22&0x3C@",
    (6, "udp"): "",
    (4, "tcp"): "0>>22&0x3C@12>>26&0x3C@",
    (6, "tcp"): "52>>26&0x3C@",
}
"u32: the way to where the offsets of `_BASE` begin."
_BASE: Final = {(4, "udp"): 8, (6, "udp"): 48, (4, "tcp"): 0, (6, "tcp"): 40}
"Bytes from there to the payload."


def filter_rules(number: int, queue: int, wanted: PacketFilter, *, closed: bool, prematch: bool) -> list[str]:
    """The rules of a filter, without their chain, in the words of iptables-restore.

    Args:
        number: of the filter, for whoever reads the rules.
        queue: number of its NFQUEUE.
        wanted: the filter.
        closed: whether packets that find the queue full are dropped; without a reader they pass in any case.
        prematch: whether the kernel compares the payload; else the broker does.
    """
    hops = "ttl --ttl-gt" if wanted.destination.version == 4 else "hl --hl-gt"
    end = (
        f"-m {hops} 1 -m addrtype --dst-type UNICAST"
        f' -m comment --comment "netserv filter {number}{" closed" if closed else ""}"'
        f" -j NFQUEUE --queue-num {queue} --queue-bypass"
    )
    tests = [""]
    words = [u32_test(wanted, each) for each in wanted.prematch] if prematch else []
    if words and all(words):
        tests = [f'-m u32 --u32 "{each}" ' for each in words]
    return [f"{match} {test}{end}" for match in _matches(wanted) for test in tests]


def _matches(wanted: PacketFilter) -> Iterator[str]:
    for first in range(0, len(wanted.ports), _PORTS_OF_RULE):
        ports = wanted.ports[first : first + _PORTS_OF_RULE]
        yield f"{_ends(wanted.source, wanted.destination)} -p {wanted.proto} {_ports('d', ports)}"
        if wanted.reverse:
            yield f"{_ends(wanted.destination, wanted.source)} -p {wanted.proto} {_ports('s', ports)}"


def _ends(source: Prefix | None, destination: Prefix | None) -> str:
    named = (f"-s {source}" if source else "", f"-d {destination}" if destination else "")
    return " ".join(each for each in named if each)


def _ports(side: str, ports: Sequence[int]) -> str:
    return f"--{side}port {ports[0]}" if len(ports) == 1 else f"-m multiport --{side}ports {','.join(map(str, ports))}"


def guards(filters: Iterable[PacketFilter]) -> list[str]:
    """Rules of PREROUTING that jump to the chain: for each protocol and side at most two ranges of ports.

    Two, parted where most ports lie between: each rule more costs all packets what the chain would cost few.
    """
    wanted: dict[tuple[str, str], set[int]] = {}
    for each in filters:
        for side in "ds" if each.reverse else "d":
            wanted.setdefault((each.proto, side), set()).update(each.ports)
    return [
        f"PREROUTING -p {proto} --{side}port {first}{f':{last}' if last > first else ''} -j {CHAIN}"
        for (proto, side), ports in sorted(wanted.items())
        for first, last in _ranges(sorted(ports))
    ]


def _ranges(ports: Sequence[int]) -> list[tuple[int, int]]:
    gaps = [after - before for before, after in itertools.pairwise(ports)]
    if max(gaps, default=1) == 1:
        return [(ports[0], ports[-1])]
    parted = gaps.index(max(gaps))
    return [(ports[0], ports[parted]), (ports[parted + 1], ports[-1])]


def u32_test(wanted: PacketFilter, prematch: Prematch) -> str:
    """The test of the `u32` match for bytes of the payload.

    It reads words of four bytes, and fails where one lies beyond the end of the packet. So the last word ends where the
    wanted bytes end, and bytes before them are masked out. Empty where that would begin before the payload of TCP.
    """
    kind = (wanted.destination.version, wanted.proto)
    begin, end = prematch.offset, prematch.offset + len(prematch.data)
    words = []
    for at in [*range(begin, end - 3, 4), *([end - 4] if (end - begin) % 4 else [])]:
        if _BASE[kind] + at < 0:
            return ""
        skipped = max(begin - at, 0)
        value = int.from_bytes(prematch.data[max(at - begin, 0) : at + 4 - begin])
        mask = 0xFFFFFFFF >> 8 * skipped
        words.append(f"{_TRANSPORT[kind]}{_BASE[kind] + at}&0x{mask:X}=0x{value:X}")
    return "&&".join(words)


class Chains:
    """The chains of the IP versions that this machine has.

    Raises:
        SystemRefusedError: not even IPv4 is given.
    """

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.versions: list[int] = []
        self._rules: dict[int, tuple[PacketFilter, list[str]]] = {}
        for version in (4, 6):
            try:
                remove_chain(version)
                xtables.restore(version, f":{CHAIN} - [0:0]", _LEAVE)
            except SystemRefusedError as error:
                if version == 4:
                    raise
                self.warnings.append(f"packets of IPv{version} go to no module: {error}")
            else:
                self.versions.append(version)

    def add(self, number: int, queue: int, wanted: PacketFilter, *, closed: bool) -> None:
        """Have packets of a filter go to a queue.

        Raises:
            SystemRefusedError: the kernel does not take the rules.
        """
        version = wanted.destination.version
        if version not in self.versions:
            raise SystemRefusedError(f"this machine gives no rules for IPv{version}")
        others = self._filters(version)
        changed = _difference(guards(others), guards([*others, wanted]))
        rules = filter_rules(number, queue, wanted, closed=closed, prematch=True)
        try:
            xtables.restore(version, *(f"-A {CHAIN} {rule}" for rule in rules), *changed)
        except SystemRefusedError as error:
            if not wanted.prematch:
                raise
            log.info("payloads of filter %d are compared outside of the kernel: %s", number, error)
            rules = filter_rules(number, queue, wanted, closed=closed, prematch=False)
            xtables.restore(version, *(f"-A {CHAIN} {rule}" for rule in rules), *changed)
        self._rules[number] = wanted, rules

    def drop(self, number: int) -> None:
        """Take the rules of a filter away.

        Raises:
            SystemRefusedError: the kernel refuses; they are still there.
        """
        wanted, rules = self._rules[number]
        version = wanted.destination.version
        changed = _difference(guards(self._filters(version)), guards(self._filters(version, without=number)))
        xtables.restore(version, *changed, *(f"-D {CHAIN} {rule}" for rule in rules))
        del self._rules[number]

    def _filters(self, version: int, *, without: int = 0) -> list[PacketFilter]:
        return [
            wanted
            for number, (wanted, _) in self._rules.items()
            if number != without and wanted.destination.version == version
        ]

    def close(self) -> None:
        """Take everything away."""
        remove_chains()


def _difference(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """Words that make the guards so; with those of filters in one transaction, no packet sees one without the other."""
    return [f"-D {each}" for each in before if each not in after] + [
        f"-A {each}" for each in after if each not in before
    ]


def remove_chains() -> None:
    """Take away what this or an earlier process has put in place; what cannot be done is logged."""
    for version in (4, 6):
        try:
            remove_chain(version)
        except SystemRefusedError as error:
            log.debug("no rules of IPv%d to remove: %s", version, error)


def remove_chain(version: int) -> None:
    """Take away the chain of one version, and what jumps to it; none there is fine.

    Raises:
        SystemRefusedError: the kernel refuses.
    """
    lines = xtables.listing(version).splitlines()
    jumps = [line.replace("-A ", "-D ", 1) for line in lines if re.search(rf" -j {CHAIN}$", line)]
    if f"-N {CHAIN}" in lines:
        xtables.restore(version, *jumps, f"-F {CHAIN}", f"-X {CHAIN}")
