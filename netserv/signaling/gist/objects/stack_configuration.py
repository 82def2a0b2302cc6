"""Stack-Configuration-Data: how the offered stacks are reached (RFC 5971 appendix A.3.5)."""

import msgspec


class ProtocolOption(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Higher-layer addressing of one protocol in one profile."""

    protocol: int
    profile: int
    "Number of a profile of the proposal, from 1; 0: all."
    must_not_be_used: bool = False
    "(D)"
    data: bytes = b""
    "For TCP in a Response: the port, as 2 bytes."


class StackConfiguration(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Hold time and options."""

    hold_time_ms: int
    "The sender keeps an idle association for so long, 1 or more."
    options: tuple[ProtocolOption, ...] = ()
