"""Settings of the lookup inside a subnet (mDHT design, section 7)."""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Placement(Protocol):
    """What the replication policy says of who holds a key; it may change while a node runs."""

    @property
    def single(self) -> bool:
        """Whether a key has one holder only, who then answers without waiting for others."""

    def targets(self, key: bytes) -> Sequence[bytes]:
        """Names of the hosts that should hold a key, best first; none where that cannot be computed."""


class ResolveConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds; the defaults are the design's, where no other reason is given."""

    fetch_rto_s: float = 0.1
    "Patience with one host that probably holds the key."
    hedge_s: float = 0.025
    """The same where another one does too, which is asked then; the first may still answer. Where a host has crashed
    that is every lookup of what it held, until the others know of it."""
    fetches_max: int = 2
    "Such hosts asked one after the other before all are asked; it must leave time for that."
    asks_s: tuple[float, ...] = (0.0, 0.12, 0.4)
    "When all siblings are asked, after the first time."
    give_up_s: float = 1.0
    "A query without a transfer in bulk ends after this."
    sweep_s: float = 0.8
    "In a small subnet whoever has said nothing by then is asked by unicast. All are asked from 0.4 s on at the latest "
    "(two fetches, an overheard question, one more fetch), and the last time 0.4 s after that."
    collect_s: float = 0.08
    "From the first answer to the last one that is merged, when the latest version is wanted."
    overhear_s: float = 0.05
    "Somebody else's question counts as ours for so long."
    overhear_wait_s: float = 0.1
    "How long after it an answer to it may come: 64 ms of delay and the way there and back."
    bulk_s: float = 5.0
    "A query with a transfer in bulk ends after this: a full key of 1 MiB at 2 Mbit/s."
    inline_max: int = 900
    "Bytes of records that travel in a datagram; more go over the bulk channel."
    step_s: float = 0.008
    "Each holder waits so long more than the one before it, and up to as long again by chance."
    steps_max: int = 8
    "So nobody waits longer than 64 ms."
    denial_members_max: int = 16
    "In larger subnets nobody says that he holds nothing."
    denial_jitter_s: float = 0.02
    hint_s: float = 60.0
    hints_max: int = 4096
    sender_asks_per_s: float = 50.0
    "Questions to all by one host; a silent one has saved up a second's worth. Section 14, as the next one."
    link_asks_per_s: float = 200.0
    gets_max: int = 1024
    "Gets under way; at 200 questions a second and a second each, five times what the link may carry."
    answers_max: int = 1024
    "Answers waiting for their time: 200 questions a second make 13 within the longest delay, repeats included."
    values_max: int = 64
    "Answers merged into one query: four times the hosts of a small subnet."

    def __post_init__(self) -> None:
        positive = ("fetch_rto_s", "hedge_s", "give_up_s", "collect_s", "overhear_wait_s", "bulk_s", "step_s", "hint_s")
        for name in positive:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")
        caps = ("inline_max", "steps_max", "hints_max", "gets_max", "answers_max", "values_max")
        for name in caps:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if not self.asks_s or list(self.asks_s) != sorted(self.asks_s) or self.asks_s[0] != 0.0:
            raise ValueError("asks_s must begin with 0 and grow")
