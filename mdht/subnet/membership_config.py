"""Settings of membership (mDHT design, section 3)."""

import msgspec


class MembershipConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds; the defaults notice a crash within 4.5 s among up to 16 hosts."""

    heartbeats_per_s: float = 16.0
    "Of all members together: so a host sends one every `members / 16` seconds, within the bounds below."
    heartbeat_min_s: float = 1.0
    heartbeat_max_s: float = 10.0
    company_s: float = 60.0
    "A host that has no sibling, and has heard no other host for so long, sends them as rarely as that."
    silence_heartbeats: float = 2.5
    "A member that was silent for so many periods is looked for."
    checkers: int = 2
    "Members that look for it at once; others follow only if they find nothing."
    check_interval_s: float = 0.4
    "Between the two pings of a check; as long after the second one accuses."
    refute_s: float = 1.0
    "An accused member has so long to say that it lives."
    alone_s: float = 10.0
    """Where hosts sign: whoever does not find a member, and hears nobody else who says so, believes himself after that.
    Five times as long as all others need to look."""
    tombstone_s: float = 600.0
    probe_above: int = 16
    "With more members than this each pings one at random every second."
    probe_s: float = 1.0
    lonely_hello_s: float = 30.0
    revisit_s: float = 30.0
    "One dead member is pinged so often, so that a healed link is noticed."
    revisit_for_s: float = 86_400.0
    answers: int = 3
    "Siblings that answer HELLO."
    answer_step_s: float = 0.020
    "Each waits so long more than the one before it."
    members_max: int = 1024
    "Hosts of one subnet; more are turned away, and counted."
    strangers_max: int = 64
    "Strangers being pinged at once before they are let in."
    unheard_heartbeats: float = 3.0
    "With a member that was not heard by multicast for so many periods, unicast takes its place (section 12)."
    unheard_min_s: float = 8.0
    "But not before: where a fifth of the multicasts is lost, eight in a row are once in 390,000."
    heard_again_s: float = 10.0
    "A member must be heard by multicast for so long, without a gap, before it counts as heard again."
    peers_s: float = 5.0
    "Between two hellos by unicast to a host that is known and no member."

    def __post_init__(self) -> None:
        positive = (
            "heartbeats_per_s",
            "heartbeat_min_s",
            "check_interval_s",
            "refute_s",
            "alone_s",
            "probe_s",
            "lonely_hello_s",
            "revisit_s",
            "heard_again_s",
            "peers_s",
        )
        for name in positive:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")
        if self.heartbeat_max_s < self.heartbeat_min_s or self.silence_heartbeats < 1:
            raise ValueError("heartbeats need heartbeat_min_s <= heartbeat_max_s and silence_heartbeats of 1 or more")
        if self.members_max < 1 or self.strangers_max < 1 or self.checkers < 1:
            raise ValueError("members_max, strangers_max and checkers must be at least 1")

    def heartbeat_s(self, members: int) -> float:
        """The period of one host among so many."""
        return min(max(members / self.heartbeats_per_s, self.heartbeat_min_s), self.heartbeat_max_s)
