"""Which protocol stacks are offered for associations, and which one of a peer's is taken (section 5.7.1)."""

from typing import Final, NamedTuple

from netserv.signaling.gist.config import GistConfig
from netserv.signaling.gist.objects.stack_configuration import ProtocolOption, StackConfiguration
from netserv.signaling.gist.objects.stack_proposal import StackProposal, StackProtocol

TCP: Final = (int(StackProtocol.FORWARDS_TCP),)
TLS: Final = (int(StackProtocol.FORWARDS_TLS), int(StackProtocol.FORWARDS_TCP))
"From top to bottom."


class Choice(NamedTuple):
    """A stack of a peer's proposal that we can use."""

    secure: bool
    port: int


class Stacks:
    """What this node proposes; all of it follows from its settings.

    Attributes:
        hold: configuration of the first Confirm on a new association.
        proposal: of Responses, None where nobody can connect here. It never depends on the Query, so that nobody on
            the path can talk us down (section 8.6), and so the Confirm's copy can be checked without state.
        configuration: that belongs to it.
    """

    __slots__ = ("_offer_secure", "_offers", "configuration", "hold", "proposal")

    def __init__(self, config: GistConfig) -> None:
        hold_ms = round(config.hold_time_s * 1000)
        self.hold = StackConfiguration(hold_time_ms=hold_ms)
        self._offer_secure = config.offer_secure
        ports = [(TLS, config.secure_port if config.offer_secure else None), (TCP, config.association_port)]
        listening = [(profile, port) for profile, port in ports if port is not None]
        self.proposal: StackProposal | None = None
        self.configuration: StackConfiguration | None = None
        if listening:
            self.proposal = StackProposal(tuple(profile for profile, _ in listening))
            options = tuple(
                ProtocolOption(protocol=TCP[0], profile=number, data=port.to_bytes(2, "big"))
                for number, (_, port) in enumerate(listening, 1)
            )
            self.configuration = StackConfiguration(hold_time_ms=hold_ms, options=options)
        self._offers = {secure: _offer(secure, config.offer_secure, hold_ms) for secure in (False, True)}

    def can_secure(self) -> bool:
        """Whether associations with TLS can be opened."""
        return self._offer_secure

    def offer(self, *, secure: bool) -> tuple[StackProposal, StackConfiguration]:
        """What a Query offers: only stacks that are good enough for the messages that wait."""
        return self._offers[secure]

    def choose(self, proposal: StackProposal, configuration: StackConfiguration, *, secure: bool) -> Choice | None:
        """Take a stack of a Response; TLS before TCP, whatever the peer's order. None: none fits."""
        for profile in (TLS, TCP):
            if (profile == TLS and not self._offer_secure) or (profile == TCP and secure):
                continue
            for number, offered in enumerate(proposal.profiles, 1):
                port = _port(configuration, number) if offered == profile else None
                if port:
                    return Choice(secure=profile == TLS, port=port)
        return None

    def may_reuse(self, query: StackProposal, *, secure: bool) -> bool:
        """Whether an association of that security is as good as a full handshake would make (section 5.7.1)."""
        if secure:
            return True
        weaker_than_all = self.proposal is not None and TCP not in self.proposal.profiles
        return TCP in query.profiles and not weaker_than_all


def _offer(secure: bool, offer_secure: bool, hold_ms: int) -> tuple[StackProposal, StackConfiguration]:
    profiles = (TLS,) if secure else (TLS, TCP) if offer_secure else (TCP,)
    options = tuple(ProtocolOption(protocol=TCP[0], profile=number) for number in range(1, len(profiles) + 1))
    return StackProposal(profiles), StackConfiguration(hold_time_ms=hold_ms, options=options)


def _port(configuration: StackConfiguration, number: int) -> int | None:
    """TCP port of a stack; None where it may not be used, or none is told."""
    port = None
    for option in configuration.options:
        if option.profile in (0, number):
            if option.must_not_be_used:
                return None
            if option.port is not None and (port is None or option.profile):
                port = option.port
    return port
