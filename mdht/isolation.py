"""How many hosts would be alone in their subnet, by the length of its prefix (thesis figure 3.2)."""

import ipaddress
import itertools
import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Final

import msgspec

from mdht.errors import LocalProtocolError

BITS: Final = 32
"Of IPv4: the lists of the thesis, and ours, hold no other."
SYNTHETIC: Final[Mapping[str, tuple[tuple[int, float], tuple[int, float]]]] = {
    "edu": ((24, 0.50), (21, 0.25)),
    "hosts": ((21, 0.50), (19, 0.25)),
}
"""Isolated shares that the thesis reads from its figure 3.2: of hosts at universities, and of all hosts."""
SYNTHETIC_HOSTS_MAX: Final = 1_000_000
DEPTH_MIN: Final = 8
"Longest common prefixes of a synthetic host and its nearest one: 2**8 subnets hold no two hosts apart."
_TRIES: Final = 64
"Places tried for a pair of synthetic hosts; the best one is taken when all are too near to others."


class Hosts(msgspec.Struct, frozen=True):
    """Addresses read from a list."""

    addresses: tuple[int, ...]
    "Distinct, as numbers, ascending."
    repeated: int
    refused: int
    "Lines that are no IPv4 address."


class Isolation(msgspec.Struct, frozen=True):
    """What the figure shows of one list."""

    hosts: int
    ratios: tuple[float, ...]
    "For prefix lengths 0 to 32: the share of hosts that no other one shares the prefix with."


def read_hosts(lines: Iterable[str]) -> Hosts:
    """Read one address a line; empty lines and what follows a # are left out, anything else that is none is counted.

    Raises:
        LocalProtocolError: there is no address at all.
    """
    found: set[int] = set()
    repeated = refused = 0
    for line in lines:
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            number = int(ipaddress.IPv4Address(text))
        except ValueError:
            refused += 1
            continue
        repeated += number in found
        found.add(number)
    if not found:
        raise LocalProtocolError("no IPv4 address in the list; one a line is expected, as 192.0.2.1")
    return Hosts(tuple(sorted(found)), repeated, refused)


def isolation(addresses: Sequence[int]) -> Isolation:
    """The share of hosts alone in their subnet, for each prefix length.

    Args:
        addresses: distinct IPv4 addresses as numbers, ascending.

    The nearest other host in the sense of prefixes is a neighbour in the sorted list, so one pass is enough.
    """
    between = [shared_bits(one, other) for one, other in itertools.pairwise(addresses)]
    nearest = [max(pair) for pair in zip([-1, *between], [*between, -1], strict=True)]
    counts = [0] * (BITS + 1)
    for bits in nearest:
        counts[bits + 1] += 1  # from the next length on it is alone
    alone, ratios = 0, []
    for count in counts:
        alone += count
        ratios.append(alone / len(addresses))
    return Isolation(len(addresses), tuple(ratios))


def shared_bits(one: int, other: int) -> int:
    """Length of the longest prefix that two addresses share."""
    return BITS - (one ^ other).bit_length()


def sample(addresses: Sequence[int], size: int, rng: Random) -> list[int]:
    """So many of the addresses, drawn at random: fewer hosts, more of them alone.

    Raises:
        LocalProtocolError: there are not so many.
    """
    if not 1 <= size <= len(addresses):
        raise LocalProtocolError(f"a sample of {size:,} from {len(addresses):,} hosts; 1 to {len(addresses):,} can be")
    return sorted(rng.sample(addresses, size))


def synthetic(name: str, hosts: int, rng: Random) -> list[int]:
    """Addresses whose isolated shares are those of the thesis at the two lengths that it names.

    In between and beyond they follow the logistic curve through both points. Hosts come in pairs: how many bits the
    two share is drawn from that curve, and the pair is put where nobody is nearer.

    Args:
        name: `edu` or `hosts`.
        hosts: how many, even.
        rng: all chance.
    """
    if not 2 <= hosts <= SYNTHETIC_HOSTS_MAX or hosts % 2:
        raise LocalProtocolError(f"{hosts:,} synthetic hosts; an even number from 2 to {SYNTHETIC_HOSTS_MAX:,} can be")
    weights = _depth_weights(*SYNTHETIC[name])
    depths = sorted(rng.choices(range(DEPTH_MIN, BITS), weights, k=hosts // 2))
    placed: list[int] = []
    for depth in depths:
        pairs = (_pair(depth, rng) for _ in range(_TRIES))
        # Nearer than drawn to somebody else: try again, and in a crowded space take the last one.
        for pair in pairs:
            nearest = max(_nearest(placed, address) for address in pair)
            if nearest <= depth:
                break
        if nearest < BITS:
            for address in pair:
                insort(placed, address)
    return placed


def _depth_weights(first: tuple[int, float], second: tuple[int, float]) -> list[float]:
    slope = (_logit(first[1]) - _logit(second[1])) / (first[0] - second[0])
    below = [1.0 / (1.0 + math.exp(-slope * (bits - first[0]) - _logit(first[1]))) for bits in range(BITS + 1)]
    below[BITS], below[DEPTH_MIN] = 1.0, 0.0
    return [below[depth + 1] - below[depth] for depth in range(DEPTH_MIN, BITS)]


def _logit(share: float) -> float:
    return math.log(share / (1.0 - share))


def _pair(depth: int, rng: Random) -> tuple[int, int]:
    one = rng.getrandbits(BITS)
    free = BITS - depth - 1
    return one, (one ^ 1 << free) >> free << free | rng.getrandbits(free) if free else one ^ 1


def _nearest(placed: Sequence[int], address: int) -> int:
    at = bisect_left(placed, address)
    return max((shared_bits(address, other) for other in placed[max(0, at - 1) : at + 1]), default=-1)
