"""What the kernel lets through of GIST packets when more come than a node can treat, in the words of iptables.

So many of any source, and beyond that only of sources that have sent before in the last seconds: whoever is lost here
sends again after half a second and is let through, while made-up sources speak once. Nothing is held back, and nothing
is remembered, as long as no more come than are let through of any source.
"""

from collections.abc import Iterator
from typing import Final

from netserv.signaling.transport.intercept import InterceptConfig

FORGOTTEN_MS: Final = 3_000
"A Query is repeated after 0.5, 1 and 2 s, if it is not answered (RFC 5971 section 5.3.3)."
SOURCES_MAX: Final = 262_144
"Remembered in a flood; of 128 bytes each in the kernel. Then 87,000 new ones a second find room."
SHARE_OF_ONE: Final = 0.75
"Of what is let through of those known, one source has that at most."
_TABLE: Final = (
    f"--hashlimit-htable-size 65536 --hashlimit-htable-max {SOURCES_MAX} --hashlimit-htable-expire {FORGOTTEN_MS}"
)


def admitted(version: int, config: InterceptConfig, what: str) -> Iterator[str]:
    """Matches, each of which lets a part through; the first one needs nothing but a count.

    Args:
        version: of IP.
        config: with the limits.
        what: tells the tables of the kernel apart.
    """
    new, known = config.newcomers_per_s, config.known_per_s
    # Whoever has an IPv6 address has a network of them.
    source = f"--hashlimit-mode srcip --hashlimit-srcmask {32 if version == 4 else 64} {_TABLE}"
    per_minute, one = 60_000 // FORGOTTEN_MS, max(1, int(known * SHARE_OF_ONE))
    known_ones = f"-m hashlimit --hashlimit-above {per_minute}/min --hashlimit-burst 1 --hashlimit-name ns-known-{what}"
    each_one = f"-m hashlimit --hashlimit-upto {one}/sec --hashlimit-burst {one} --hashlimit-name ns-one-{what}"
    yield f"-m limit --limit {new}/sec --limit-burst {new} "
    yield f"{known_ones} {source} {each_one} {source} -m limit --limit {known}/sec --limit-burst {known} "
