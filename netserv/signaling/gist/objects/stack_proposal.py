"""Stack-Proposal: which protocol stacks a node offers for an association (RFC 5971 appendix A.3.4)."""

from enum import IntEnum

import msgspec


class StackProtocol(IntEnum):
    """MA-Protocol-IDs (section 9)."""

    FORWARDS_TCP = 1
    FORWARDS_TLS = 2


class StackProposal(msgspec.Struct, frozen=True, gc=False):
    """Profiles in order of preference, each the protocol numbers from top to bottom; unknown numbers are kept."""

    profiles: tuple[tuple[int, ...], ...]
