"""Settings of a responder."""

from dataclasses import dataclass

from z2z.errors import LocalProtocolError
from z2z.mdns.outbox import PACKETS_PER_MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponderConfig:
    """Settings of a responder."""

    packets_per_minute: int = PACKETS_PER_MINUTE
    "Multicast messages, sustained (each a packet per address family): about a fifth of a slow radio link's air time."
    burst: int = 400
    "After a quiet time; 800 imports become visible with about as many packets."
    answer_patience_s: float = 2.0
    "An answer that waits longer for the budget is dropped: its asker has asked again."
    registrations_max: int = 1_000
    "Other hosts' caches hold about 800 services (Avahi's default, measured); more would push out one another."

    def __post_init__(self) -> None:
        if min(self.packets_per_minute, self.burst, self.registrations_max) < 1 or self.answer_patience_s <= 0:
            raise LocalProtocolError("every limit of a responder is at least 1, its patience above 0")
