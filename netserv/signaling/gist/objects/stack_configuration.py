"""Stack-Configuration-Data: how the offered stacks are reached (RFC 5971 appendix A.3.5)."""

from functools import lru_cache
from struct import Struct
from typing import Final, Self

import msgspec

from netserv.signaling.gist.errors import ErrorCode, FormatError, ValueFault
from netserv.signaling.gist.objects.stack_proposal import StackProposal, StackProtocol
from netserv.signaling.gist.reader import Reader
from netserv.signaling.gist.tlv import VALUE_MAX, ObjectType

REMEMBERED_MAX: Final = 256
"As of proposals, which they go with."

_FORM: Final = Struct("!BxxxI")
_OPTION: Final = Struct("!BBBB")
_D: Final = 0x80
_PORT_SIZES: Final = (2, 4)
"Of a TCP option's data: RFC 5971 counts the padding, the independent implementation does not."


class ProtocolOption(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Higher-layer addressing of one protocol in one profile."""

    protocol: int
    profile: int
    "Number of a profile of the proposal, from 1; 0: all."
    must_not_be_used: bool = False
    "(D)"
    data: bytes = b""
    "For TCP in a Response: the port, as 2 bytes."

    def __post_init__(self) -> None:
        if not 1 <= self.protocol <= 0xFF or not 0 <= self.profile <= 0xFF or len(self.data) > 0xFF:
            raise _refused(
                "an option has protocol 1 to 255, profile 0 to 255, 0 to 255 bytes", ValueFault.NOT_SUPPORTED
            )

    @property
    def port(self) -> int | None:
        """Where TCP connections are accepted; None where this option does not say."""
        if self.protocol != StackProtocol.FORWARDS_TCP or len(self.data) not in _PORT_SIZES:
            return None
        return int.from_bytes(self.data[:2], "big") or None


class StackConfiguration(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Hold time and options."""

    hold_time_ms: int
    "The sender keeps an idle association for so long, 1 or more."
    options: tuple[ProtocolOption, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.hold_time_ms <= 0xFFFF_FFFF:
            raise _refused("a hold time has 1 to 4,294,967,295 ms", ValueFault.NOT_SUPPORTED, at=4)
        size = _FORM.size + sum(_OPTION.size + ((len(option.data) + 3) & ~3) for option in self.options)
        if len(self.options) > 0xFF or size > VALUE_MAX:
            raise _refused(f"there are up to 255 options, of {VALUE_MAX} bytes in all", ValueFault.LENGTH)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read the whole value.

        Raises:
            FormatError: it breaks a rule.
        """
        count, hold_time_ms = reader.take(_FORM)
        options = []
        for _ in range(count):
            protocol, profile, size, flags = reader.take(_OPTION)
            data = reader.take_bytes(size)
            reader.take_padding()
            options.append(ProtocolOption(protocol=protocol, profile=profile, must_not_be_used=flags >= _D, data=data))
        reader.close()
        return cls(hold_time_ms=hold_time_ms, options=tuple(options))

    def encode(self) -> bytes:
        """The value of the object."""
        return _encoded(self)


@lru_cache(maxsize=REMEMBERED_MAX)
def decode_stack_configuration(value: bytes) -> StackConfiguration:
    """The configuration that these bytes are.

    Raises:
        FormatError: they break a rule.
    """
    return StackConfiguration.decode(Reader(value, ObjectType.STACK_CONFIGURATION))


@lru_cache(maxsize=REMEMBERED_MAX)
def _encoded(configuration: StackConfiguration) -> bytes:
    parts = [_FORM.pack(len(configuration.options), configuration.hold_time_ms)]
    for option in configuration.options:
        size = len(option.data)
        parts.append(_OPTION.pack(option.protocol, option.profile, size, option.must_not_be_used and _D))
        parts.append(option.data + bytes(-size % 4))
    return b"".join(parts)


@lru_cache(maxsize=REMEMBERED_MAX)
def check_stack(proposal: StackProposal, configuration: StackConfiguration) -> None:
    """Make sure that a proposal and its configuration speak of the same (section 5.7.1).

    Raises:
        FormatError: an option is for a profile or protocol that is not offered, or TCP is offered without an option.
    """
    told = set()
    for option in configuration.options:
        if option.profile > len(proposal.profiles):
            raise _mismatch(f"an option is for profile {option.profile} of {len(proposal.profiles)}")
        numbers = (option.profile,) if option.profile else range(1, len(proposal.profiles) + 1)
        meant = {number for number in numbers if option.protocol in proposal.profiles[number - 1]}
        if not meant:
            raise _mismatch(f"an option is for protocol {option.protocol}, which is not offered there")
        if option.protocol == StackProtocol.FORWARDS_TCP:
            told |= meant
    for number, profile in enumerate(proposal.profiles, 1):
        if StackProtocol.FORWARDS_TCP in profile and number not in told:
            raise _mismatch(f"profile {number} has TCP, for which there is no option")


def _mismatch(text: str) -> FormatError:
    objects = (ObjectType.STACK_PROPOSAL, ObjectType.STACK_CONFIGURATION)
    return FormatError(text, ValueFault.STACK_MISMATCH, code=ErrorCode.OBJECT_VALUE_ERROR, objects=objects)


def _refused(text: str, fault: ValueFault, at: int = 0) -> FormatError:
    return FormatError(text, fault, at=at, objects=(ObjectType.STACK_CONFIGURATION,))
