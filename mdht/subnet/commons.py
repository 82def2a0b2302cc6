"""What all parts of one host's store look at, or write to."""

from collections import Counter
from collections.abc import Collection
from random import Random

from mdht.subnet.membership import Membership
from mdht.subnet.messages import State
from mdht.subnet.policies import Policy, Scene
from mdht.subnet.siblings import Siblings
from mdht.subnet.stock import Stock
from mdht.subnet.store_config import StoreConfig
from mdht.subnet.store_effects import StoreEffect


class Commons:
    """Of one host.

    Args:
        membership: who is there.
        policy: what belongs where.
        stock: what this host holds.
        config: times and limits.
        rng: all chance.

    Attributes:
        siblings: the members as far as they can be reached.
        counters: of what was lost, refused and done again.
        out: where effects go.
        now: the time, for those who are called without it.
    """

    def __init__(self, membership: Membership, policy: Policy, stock: Stock, config: StoreConfig, rng: Random) -> None:
        self.membership, self.policy, self.stock, self.config, self.rng = membership, policy, stock, config, rng
        self.siblings = Siblings(membership, config.resolve.denial_members_max)
        self.counters: Counter[str] = Counter()
        self.out: list[StoreEffect] = []
        self.now = 0.0
        self._ready: tuple[tuple[int, State], list[bytes]] = ((-1, State.LEFT), [])

    @property
    def me(self) -> bytes:
        """Own name."""
        return self.membership.hid

    @property
    def state(self) -> State:
        """What this host is."""
        return self.membership.state

    def ready(self) -> list[bytes]:
        """READY members, this host among them if it is."""
        key = (self.membership.view.epoch, self.membership.state)
        if self._ready[0] != key:
            self._ready = (key, self.membership.ready_hids())
        return self._ready[1]

    def scene(self, now: float, keys: Collection[bytes] | None = None) -> Scene:
        """What a policy sees; all keys of this host, or some."""
        return Scene(self.me, self.ready(), self.stock.keys if keys is None else keys, now)

    def targets(self, key: bytes, *more: bytes) -> list[bytes]:
        """Who should hold a key, now, or if some others were READY."""
        ready = self.ready()
        if more:
            ready = [*ready, *[hid for hid in more if hid not in ready]]
        return self.policy.targets(key, ready, None, self.policy.stats(key))
