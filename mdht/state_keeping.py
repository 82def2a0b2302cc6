"""Writes what a running host holds to its state directory, about once a second."""

import logging
import math
import time
from typing import Final

import trio

from dhtboot.ids import Address, id_bytes
from mdht.errors import LocalProtocolError
from mdht.link_running import RunningHost
from mdht.records import Copy
from mdht.state import Batch, SavedContact, StateDirectory
from mdht.subnet.identity import Subnet
from mdht.subnet.kept import HOSTS_MAX, Kept, recalled, remembered

log = logging.getLogger(__name__)

SAVE_INTERVAL_S: Final = 1.0
"A host that is killed loses at most so much of what it heard; others hold it as well."
CONTACTS_SAVE_S: Final = 300.0
"Unchanged neighbours are written so often; every second would wear out a router's flash."


class StateKeeping:
    """Of one host.

    Args:
        state: its directory, open.
        kept: the subnets that it was in.
        fingerprint: of its link.
        host: what is to be written.
    """

    def __init__(self, state: StateDirectory, kept: tuple[Kept, ...], fingerprint: bytes, host: RunningHost) -> None:
        self._state = state
        self._kept = kept
        self._fingerprint = fingerprint
        self._host = host
        self._saved: dict[tuple[bytes, bytes, bytes], int] = {}
        self._saved_contacts: frozenset[bytes] = frozenset()
        self._saved_subnet: Subnet | None = None
        former = recalled(kept, fingerprint)
        self._saved_hosts: frozenset[Address] = frozenset(() if former is None else former.hosts)
        self._contacts_at = self._subnet_at = -math.inf

    async def run(self) -> None:
        """Write what changed, for ever."""
        while True:
            await trio.sleep(SAVE_INTERVAL_S)
            await self.save()

    async def save(self) -> None:
        """Write what changed since the last time."""
        now, wall_s = trio.current_time(), time.time()
        changed: list[Copy] = []
        held: dict[tuple[bytes, bytes, bytes], int] = {}
        for copy in self._host.table.copies(now):
            record = copy.record
            slot = (record.key, *record.slot)
            held[slot] = record.seq
            if self._saved.get(slot) != record.seq:
                changed.append(copy)
        batch = Batch(
            contacts=self._contacts(now, wall_s),
            copies=tuple(changed),
            dropped=tuple(slot for slot in self._saved if slot not in held),
        )
        self._saved = held
        try:
            if batch.contacts or batch.copies or batch.dropped:
                await trio.to_thread.run_sync(self._state.save, batch, wall_s)
            self._keep_subnet(wall_s)
        except LocalProtocolError as error:
            log.warning("state not saved: %s", error)

    def _keep_subnet(self, wall_s: float) -> None:
        """Remember the subnet, with the time, as often as the contacts; when it or its hosts are others at once.

        With nobody there, those that were there before are kept.
        """
        subnet = self._host.core.subnet
        now = trio.current_time()
        hosts = frozenset(sorted(self._host.members)[:HOSTS_MAX]) or self._saved_hosts
        same = subnet == self._saved_subnet and hosts == self._saved_hosts
        if subnet is None or (same and now < self._subnet_at + CONTACTS_SAVE_S):
            return
        self._saved_subnet, self._saved_hosts, self._subnet_at = subnet, hosts, now
        founded_s = max(0.0, now - self._host.core.founded_at)
        kept = Kept(
            subnet=subnet, fingerprint=self._fingerprint, founded_s=founded_s, left_s=0.0, hosts=tuple(sorted(hosts))
        )
        self._kept = remembered(self._kept, kept)
        self._state.keep_subnets(self._kept, wall_s)

    def _contacts(self, now: float, wall_s: float) -> tuple[SavedContact, ...]:
        """The neighbours, when they are others than before; else now and then, for the time they were last seen."""
        neighbours = self._host.neighbours
        identifiers = frozenset(id_bytes(node.id) for node in neighbours)
        if identifiers == self._saved_contacts and now < self._contacts_at + CONTACTS_SAVE_S:
            return ()
        self._saved_contacts, self._contacts_at = identifiers, now
        found = [(node, self._host.address_of(node)) for node in neighbours]
        return tuple(
            SavedContact(id=id_bytes(node.id), host=address[0], port=address[1], seen_at=wall_s)
            for node, address in found
            if address is not None
        )
