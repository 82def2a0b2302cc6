"""Hosts of one subnet that carry out what their policies ask for, at once and in memory."""

import math
from collections.abc import Iterable
from random import Random

from mdht.subnet.policies import (
    Action,
    Announce,
    CopyTo,
    DropAfterAck,
    KeyStats,
    Lost,
    PullFrom,
    Scene,
    policy_from,
)
from mdht.subnet.view import rank


def hid_of(number: int) -> bytes:
    return Random(f"host {number}").randbytes(8)


def key_of(number: int) -> bytes:
    return Random(f"key {number}").randbytes(20)


class Host:
    """One host: a policy and the keys it holds."""

    def __init__(self, hid: bytes, policy: str) -> None:
        self.hid = hid
        self.policy = policy_from(policy)
        self.keys: set[bytes] = set()
        self.copies = True
        "Whether it makes the copies it is asked to make."


class Subnet:
    """Runs them. With `late` the others' lists of members are always one event behind."""

    def __init__(self, policy: str, *, late: bool = False) -> None:
        self._policy = policy
        self._late = late
        self._count = 0
        self.hosts: dict[bytes, Host] = {}
        self.now = 0.0
        self.moved = 0
        self.notes: list[KeyStats] = []
        self.lost: list[bytes] = []

    @property
    def ready(self) -> list[bytes]:
        return sorted(self.hosts)

    def host(self, number: int) -> Host:
        """Some host, whatever the number."""
        return self.hosts[self.ready[number % len(self.hosts)]]

    def scene(self, host: Host, ready: Iterable[bytes], keys: Iterable[bytes] | None = None) -> Scene:
        return Scene(host.hid, list(ready), set(host.keys if keys is None else keys), self.now)

    # ---- what happens --------------------------------------------------------------------------------------------

    def join(self) -> Host:
        host = Host(hid_of(self._count), self._policy)
        self._count += 1
        before = self.ready
        listed = {key for sibling in self.hosts.values() for key in sibling.keys}
        for sibling in self.hosts.values():
            for key in listed:
                if (stats := sibling.policy.stats(key)) is not None:
                    host.policy.learn(key, stats, self.scene(host, before))
        self.hosts[host.hid] = host
        self.perform(host, host.policy.on_join(host.hid, self.scene(host, before, listed)))
        for sibling in [self.hosts[hid] for hid in before]:
            ready = before if self._late else self.ready
            self.perform(sibling, sibling.policy.on_join(host.hid, self.scene(sibling, ready)))
        return host

    def leave(self, host: Host) -> None:
        before = self.ready
        after = [hid for hid in before if hid != host.hid]
        seen = before if self._late else after
        self.perform(host, host.policy.on_leave(host.hid, self.scene(host, seen)), ready=seen)
        del self.hosts[host.hid]
        for other in self.hosts.values():
            self.perform(other, other.policy.on_leave(host.hid, self.scene(other, seen)))

    def die(self, host: Host) -> None:
        before = self.ready
        del self.hosts[host.hid]
        for other in list(self.hosts.values()):
            seen = before if self._late else self.ready
            self.perform(other, other.policy.on_dead(host.hid, self.scene(other, seen)))

    def put(self, host: Host, key: bytes) -> None:
        host.keys.add(key)
        self.perform(host, host.policy.on_store(key, self.scene(host, self.ready)))

    def look_up(self, host: Host, key: bytes) -> bool:
        """Whether the host had the key; else it asks the first that should hold it, and that one notices it."""
        server = host if key in host.keys else self.hosts[self.holders_by(host, key)[0]]
        fetcher = None if server is host else host.hid
        self.perform(server, server.policy.on_lookup(key, fetcher, self.scene(server, self.ready)))
        return server is host

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            due = min((host.policy.next_deadline() for host in self.hosts.values()), default=math.inf)
            if due > end:
                self.now = end
                return
            self.now = max(self.now, due)
            for host in list(self.hosts.values()):
                self.perform(host, host.policy.tick(self.scene(host, self.ready)))

    # ---- what is done about it -----------------------------------------------------------------------------------

    def perform(self, host: Host, actions: list[Action], ready: list[bytes] | None = None) -> None:
        for action in actions:
            match action:
                case CopyTo(key=key, hid=hid):
                    assert hid != host.hid
                    if host.copies and key in host.keys:
                        self._give(hid, key)
                case PullFrom(key=key, hid=hid):
                    assert hid != host.hid
                    assert key in self.hosts[hid].keys, "whom a policy names has it"
                    self._give(host.hid, key)
                case DropAfterAck(key=key, hid=hid):
                    assert hid != host.hid
                    if hid in self.hosts:
                        self._give(hid, key)
                        host.keys.discard(key)
                case Announce(key=key, stats=stats):
                    self.notes.append(stats)
                    for other in [other for other in self.hosts.values() if other is not host]:
                        scene = self.scene(other, self.ready if ready is None else ready)
                        self.perform(other, other.policy.on_note(key, stats, scene))
                case Lost(key=key):
                    self.lost.append(key)

    def _give(self, hid: bytes, key: bytes) -> None:
        self.moved += key not in self.hosts[hid].keys
        self.hosts[hid].keys.add(key)

    # ---- what is seen --------------------------------------------------------------------------------------------

    def holding(self, key: bytes) -> set[bytes]:
        return {hid for hid, host in self.hosts.items() if key in host.keys}

    def holders_by(self, host: Host, key: bytes) -> list[bytes]:
        """Who should hold the key, by what one host knows."""
        return host.policy.targets(key, self.ready, None, host.policy.stats(key))

    def check(self, keys: Iterable[bytes], replicas: int | None) -> None:
        """Every key is where all hosts expect it, and has its number of copies where one is given."""
        for key in keys:
            holding = self.holding(key)
            assert holding, "lost"
            for host in self.hosts.values():
                assert set(self.holders_by(host, key)) == holding
            if replicas is not None:
                assert len(holding) == min(replicas, len(self.hosts))


def started(policy: str, hosts: int, *, late: bool = False) -> Subnet:
    subnet = Subnet(policy, late=late)
    for _ in range(hosts):
        subnet.join()
    return subnet


def first_by_rank(subnet: Subnet, key: bytes) -> Host:
    return subnet.hosts[rank(key, subnet.ready)[0]]
