"""Stack-Proposal: which protocol stacks a node offers for an association (RFC 5971 appendix A.3.4)."""

from enum import IntEnum
from functools import lru_cache
from struct import Struct
from typing import Final, Self

import msgspec

from netserv.signaling.gist.errors import FormatError, ValueFault
from netserv.signaling.gist.reader import Reader
from netserv.signaling.gist.tlv import VALUE_MAX, ObjectType

REMEMBERED_MAX: Final = 256
"A network has a few proposals in all; at most 16 KB each, and seldom over 16 bytes."

_COUNT: Final = Struct("!Bxxx")
_LAYERS: Final = Struct("!B")


class StackProtocol(IntEnum):
    """MA-Protocol-IDs (section 9)."""

    FORWARDS_TCP = 1
    FORWARDS_TLS = 2


class StackProposal(msgspec.Struct, frozen=True, gc=False):
    """Profiles in order of preference, each the protocol numbers from top to bottom; unknown numbers are kept."""

    profiles: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.profiles) <= 0xFF:
            raise _refused("a proposal has 1 to 255 profiles", ValueFault.NOT_SUPPORTED)
        at = _COUNT.size
        for profile in self.profiles:
            if not profile:
                raise _refused("a profile has one protocol at least", ValueFault.EMPTY_LIST, at=at)
            if len(profile) > 0xFF or not all(0 < protocol <= 0xFF for protocol in profile):
                raise _refused("a profile has up to 255 protocols of 1 to 255", ValueFault.NOT_SUPPORTED, at=at + 1)
            at += (len(profile) + 4) & ~3
        if at > VALUE_MAX:
            raise _refused(f"a proposal has up to {VALUE_MAX} bytes", ValueFault.LENGTH)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read the whole value.

        Raises:
            FormatError: it breaks a rule.
        """
        (count,) = reader.take(_COUNT)
        profiles = []
        for _ in range(count):
            (layers,) = reader.take(_LAYERS)
            profiles.append(tuple(reader.take_bytes(layers)))
            reader.take_padding()
        reader.close()
        return cls(tuple(profiles))

    def encode(self) -> bytes:
        """The value of the object."""
        return _encoded(self)


@lru_cache(maxsize=REMEMBERED_MAX)
def decode_stack_proposal(value: bytes) -> StackProposal:
    """The proposal that these bytes are.

    Raises:
        FormatError: they break a rule.
    """
    return StackProposal.decode(Reader(value, ObjectType.STACK_PROPOSAL))


@lru_cache(maxsize=REMEMBERED_MAX)
def _encoded(proposal: StackProposal) -> bytes:
    profiles = (bytes((len(profile), *profile)) for profile in proposal.profiles)
    return _COUNT.pack(len(proposal.profiles)) + b"".join(one + bytes(-len(one) % 4) for one in profiles)


def _refused(text: str, fault: ValueFault, at: int = 0) -> FormatError:
    return FormatError(text, fault, at=at, objects=(ObjectType.STACK_PROPOSAL,))
