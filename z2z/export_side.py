"""Runs an exporter between a link and a store."""

import math
from collections.abc import Iterable
from typing import Final

import trio

from z2z.errors import StoreError
from z2z.exporter import Confirm, ExportEffect, Exporter, Put, Remove
from z2z.mdns.messages import ServiceChanged, ServiceFound, ServiceLost, ServiceRefused
from z2z.policy_rules import Rules
from z2z.reports import Report
from z2z.sides import PATIENCE_S, TICK_MIN_S, Alarm, Link, Say
from z2z.stores.base import Store

PUTS_AT_ONCE: Final = 16
"Puts and removes side by side: a put takes some round trips, and a node's rate limit is far above this."
CONFIRMS_AT_ONCE: Final = 20
"More questions at once than so many, and receivers lose answers (measured with Avahi)."

Slot = tuple[bytes, bytes]


class ExportSide:
    """One exporter at work."""

    def __init__(self, exporter: Exporter, link: Link, store: Store, say: Say) -> None:
        self.exporter = exporter
        self._link, self._store, self._say = link, store, say
        self._alarm = Alarm()
        # The newest wish of each slot; a slot is worked on by one task, so that a put never overtakes a remove.
        self._wishes: dict[Slot, Put | Remove] = {}
        self._busy: set[Slot] = set()
        # Bounded by the exporter's services times their keys, since a slot is queued once.
        self._queue_in, self._queue_out = trio.open_memory_channel[Slot](math.inf)
        self._questions_in, self._questions_out = trio.open_memory_channel[Confirm](math.inf)

    async def run(self, types: Iterable[str]) -> None:
        """Export services of these types until cancelled."""
        async with trio.open_nursery() as nursery:
            for service_type in types:
                nursery.start_soon(self._browse, service_type)
            for _ in range(PUTS_AT_ONCE):
                nursery.start_soon(self._work)
            for _ in range(CONFIRMS_AT_ONCE):
                nursery.start_soon(self._ask)
            while True:
                self._perform(self.exporter.tick(trio.current_time()))
                await trio.sleep(TICK_MIN_S)
                await self._alarm.sleep_until(self.exporter.next_deadline())

    def set_rules(self, rules: Rules) -> None:
        """Obey other rules from now on."""
        self._perform(self.exporter.set_rules(rules, trio.current_time()))

    async def close(self) -> None:
        """Remove everything that was exported; to be called after `run` was cancelled, under a deadline."""
        self._wishes.clear()
        self._busy.clear()
        removes = []
        for effect in self.exporter.shutdown():
            match effect:
                case Remove():
                    removes.append(effect)
                case Report():
                    self._say(effect)
        limiter = trio.CapacityLimiter(PUTS_AT_ONCE)

        async def remove(effect: Remove) -> None:
            async with limiter:
                await self._carry_out(effect)

        async with trio.open_nursery() as nursery:
            for effect in removes:
                nursery.start_soon(remove, effect)

    async def _browse(self, service_type: str) -> None:
        async with self._link.browse(service_type) as events:
            async for event in events:
                match event:
                    case ServiceFound(item=item) | ServiceChanged(item=item):
                        self._perform(self.exporter.found(item, trio.current_time()))
                    case ServiceLost(service_type=lost_type, instance=instance):
                        self._perform(self.exporter.lost(lost_type, instance))
                    case ServiceRefused(service_type=bad_type, instance=instance, reason=reason):
                        self._perform(self.exporter.refused(bad_type, instance, reason))

    def _perform(self, effects: Iterable[ExportEffect]) -> None:
        for effect in effects:
            match effect:
                case Put() | Remove():
                    slot = (effect.key, effect.name)
                    if slot not in self._wishes and slot not in self._busy:
                        self._queue_in.send_nowait(slot)
                    self._wishes[slot] = effect
                case Confirm():
                    self._questions_in.send_nowait(effect)
                case Report():
                    self._say(effect)
        self._alarm.ring()

    async def _work(self) -> None:
        async for slot in self._queue_out.clone():
            self._busy.add(slot)
            while slot in self._wishes:
                await self._carry_out(self._wishes.pop(slot))
            self._busy.discard(slot)

    async def _carry_out(self, effect: Put | Remove) -> None:
        error = None
        try:
            with trio.fail_after(PATIENCE_S):
                match effect:
                    case Put():
                        await self._store.put(effect.key, effect.name, effect.value, effect.lease_s)
                    case Remove():
                        await self._store.remove(effect.key, effect.name)
        except StoreError as caught:
            error = str(caught)
        except trio.TooSlowError:
            error = f"the store did not answer within {PATIENCE_S:.0f} s"
        if isinstance(effect, Put):
            self._perform(self.exporter.put_done(effect, error, trio.current_time()))
        elif error is not None:
            service_type, instance = effect.service
            reason = f"could not be removed ({error}); it ends by itself when its lease does"
            self._say(Report(event="failed", service=instance.decode(), service_type=service_type, reason=reason))

    async def _ask(self) -> None:
        async for question in self._questions_out.clone():
            alive = await self._link.confirm(question.service_type, question.instance)
            self._perform(self.exporter.confirmed(question.service_type, question.instance, alive=alive))
