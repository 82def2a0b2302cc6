"""Settings of a responder."""

from dataclasses import dataclass

from z2z.errors import LocalProtocolError
from z2z.mdns.outbox import PACKETS_PER_MINUTE, burst_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponderConfig:
    """Settings of a responder."""

    packets_per_minute: int = PACKETS_PER_MINUTE
    "Multicast messages, sustained (each a packet per address family): about a fifth of a slow radio link's air time."
    burst: int = burst_of(PACKETS_PER_MINUTE)
    "After a quiet time; 800 imports become visible with about as many messages."
    answer_patience_s: float = 2.0
    "An answer that waits longer for the budget is dropped: its asker has asked again."
    announce_s: float = 1.0
    "Between the two announcements of a service (RFC 6762 section 8.3)."
    announce_each_s: float = 0.005
    "Times the services, if that is longer: Avahi takes seconds to read a thousand, and is not to get them twice then."
    registrations_max: int = 1_000
    "Other hosts' caches hold about 800 services (Avahi's default, measured); more would push out one another."

    def announce_pause_s(self, services: int) -> float:
        """Return how long the second announcement waits among so many services."""
        return max(self.announce_s, self.announce_each_s * services)

    def __post_init__(self) -> None:
        if min(self.packets_per_minute, self.burst, self.registrations_max) < 1 or self.answer_patience_s <= 0:
            raise LocalProtocolError("every limit of a responder is at least 1, its patience above 0")
