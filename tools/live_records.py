"""Records in the live experiment: put at its beginning, asked for while hosts are killed, counted at its end."""

import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from hashlib import sha1
from random import Random
from typing import Final

import trio

from mdht.control import ControlClient, control_path
from mdht.errors import MdhtError
from tools.netlab import Host

Work = Callable[[Sequence[Host], int], Awaitable[None]]

AT_ONCE: Final = 16
"Operations under way."
TTL_S: Final = 7200.0


class LiveRecords:
    """So many, each under a key of its own.

    Args:
        count: how many.
        rng: chooses hosts and keys.

    Attributes:
        latencies_s: of gets that were answered.
        missed: of those that found nothing, or not the value, while hosts were killed.
        lost: those that no host finds at the end.
        looked_up: lookups of hosts among their siblings that took at most so many seconds, by that number.
    """

    def __init__(self, count: int, rng: Random) -> None:
        self.count = count
        self.latencies_s: list[float] = []
        self.missed = 0
        self.lost = 0
        self.looked_up: Counter[str] = Counter()
        self._rng = rng

    def put(self, hosts: Sequence[Host]) -> None:
        """Put all of them, by all hosts in turn.

        Raises:
            MdhtError: one was not stored.
        """
        trio.run(self._each, self._put, hosts, range(self.count))

    def ask(self, hosts: Sequence[Host], count: int) -> None:
        """Ask for some of them at random hosts."""
        numbers = [self._rng.randrange(self.count) for _ in range(count)] if self.count else []
        trio.run(self._each, self._ask, hosts, numbers)

    def count_lost(self, hosts: Sequence[Host]) -> None:
        """Ask for all of them, each at all hosts until one finds it."""
        trio.run(self._each, self._look_for, hosts, range(self.count))

    def count_lookups(self, hosts: Sequence[Host]) -> None:
        """How long lookups among siblings took, since the programs were started."""
        trio.run(self._each, self._count_lookups, hosts, range(len(hosts)))

    async def _count_lookups(self, hosts: Sequence[Host], number: int) -> None:
        self.looked_up.update((await client(hosts[number]).status()).lookups)

    async def _each(self, work: Work, hosts: Sequence[Host], numbers: Iterable[int]) -> None:
        limit = trio.CapacityLimiter(AT_ONCE)
        async with trio.open_nursery() as nursery:
            for number in numbers:
                token = object()
                await limit.acquire_on_behalf_of(token)
                nursery.start_soon(self._limited, limit, token, work, hosts, number)

    async def _limited(
        self, limit: trio.CapacityLimiter, token: object, work: Work, hosts: Sequence[Host], number: int
    ) -> None:
        try:
            await work(hosts, number)
        finally:
            limit.release_on_behalf_of(token)

    async def _put(self, hosts: Sequence[Host], number: int) -> None:
        receipt = await client(hosts[number % len(hosts)]).put(key_of(number), b"%d" % number, ttl_s=TTL_S)
        if not receipt.stored:
            raise MdhtError(f"record {number} was not stored: {receipt}")

    async def _ask(self, hosts: Sequence[Host], number: int) -> None:
        began = time.perf_counter()
        if await _finds(self._rng.choice(hosts), number):
            self.latencies_s.append(time.perf_counter() - began)
        else:
            self.missed += 1

    async def _look_for(self, hosts: Sequence[Host], number: int) -> None:
        for host in self._rng.sample(hosts, len(hosts)):
            if await _finds(host, number):
                return
        self.lost += 1


def key_of(number: int) -> bytes:
    """The key of a record."""
    return sha1(b"live record %d" % number, usedforsecurity=False).digest()


def client(host: Host) -> ControlClient:
    """Programs' door to the `mdht run` of a host."""
    home = host.directory
    return ControlClient(
        control_path(home / "state" / "mdht" / "net-z2z", {"XDG_RUNTIME_DIR": os.fspath(home / "run")})
    )


async def _finds(host: Host, number: int) -> bool:
    try:
        return [found.value for found in await client(host).get(key_of(number), fresh=True)] == [b"%d" % number]
    except MdhtError:  # the host was killed
        return False
