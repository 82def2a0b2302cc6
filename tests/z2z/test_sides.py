"""Exporter and importer at work, over links and a store in memory, on virtual time."""

from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
from trio.testing import MockClock

from tests.z2z.bridge_link import MemoryLink
from tests.z2z.exports import item, signer, site
from z2z.dry_run import ReadOnlyStore, SilentLink
from z2z.errors import StoreError
from z2z.export_side import ExportSide
from z2z.exporter import ExportConfig, Exporter
from z2z.import_side import ImportSide, Source
from z2z.importer import ImportConfig, Importer
from z2z.keys import dht_key
from z2z.mdns.messages import Registered, StandingBy
from z2z.policy_text import parse_rules
from z2z.sides import Alarm
from z2z.stores.memory import MemoryStore, MemoryTable

DAAP = "_daap._tcp"


class Polled(MemoryStore):
    """A store that does not push."""

    pushes = False


class Failing(MemoryStore):
    """A store that fails so many times first."""

    failures = 3

    async def put(self, key, name, value, lease_s):
        if self.failures:
            self.failures -= 1
            raise StoreError("no node answered")
        return await super().put(key, name, value, lease_s)


class World:
    """Two links, a store between them, and what the users read."""

    def __init__(self, nursery, kind=MemoryStore):
        self.nursery, self.kind, self.table = nursery, kind, MemoryTable()
        self.a, self.b = MemoryLink(), MemoryLink()
        self.said = []
        for link in (self.a, self.b):
            nursery.start_soon(link.run)

    def exporter(self, link, seed=1, **settings):
        config = ExportConfig(site=site(seed), keys=("office",), **settings)
        core = Exporter(config, signer(seed), Random(seed), first_seq=int(trio.current_time() * 1000) + 1)
        return ExportSide(core, link, self.kind(signer(seed).public_key, self.table), self.said.append)

    def importer(self, link, seed=9, **settings):
        core = Importer(ImportConfig(site=site(seed, "here"), **settings), Random(seed))
        return ImportSide(core, link, self.said.append, lambda: ())

    def sources(self, seed=9):
        store = self.kind(signer(seed).public_key, self.table)
        return [Source(label="office", store=store, key=dht_key("office"))]

    def start(self, work, *args):
        scope = trio.CancelScope()

        async def run():
            with scope:
                await work(*args)

        self.nursery.start_soon(run)
        return scope

    def bridge(self):
        self.exporting, self.importing = self.exporter(self.a), self.importer(self.b)
        self.export_scope = self.start(self.exporting.run, [DAAP])
        self.import_scope = self.start(self.importing.run, self.sources(), 10)

    def events(self):
        return [report.event for report in self.said]


def on_virtual_time(main, kind=MemoryStore):
    async def run():
        async with trio.open_nursery() as nursery:
            await main(World(nursery, kind))
            nursery.cancel_scope.cancel()

    trio.run(run, clock=MockClock(autojump_threshold=0))


def test_a_service_of_one_link_appears_on_the_other_and_goes_with_it():
    async def main(world):
        world.bridge()
        world.a.publish(item())
        await trio.sleep(2)
        assert world.b.names() == [b"Tom's Music"]
        world.a.withdraw_device(item())
        await trio.sleep(1)
        assert world.b.names() == []
        assert world.events() == ["exported", "imported", "withdrawn", "removed"]

    on_virtual_time(main)


def test_without_pushes_it_takes_one_poll():
    async def main(world):
        world.bridge()
        await trio.sleep(1)
        world.a.publish(item())
        await trio.sleep(10 + 2)
        assert world.b.names() == [b"Tom's Music"]
        world.a.withdraw_device(item())
        await trio.sleep(2 * 10 + 1)
        assert world.b.names() == []

    on_virtual_time(main, Polled)


def test_a_living_service_stays_while_it_lives_and_a_changed_one_changes():
    async def main(world):
        world.bridge()
        world.a.publish(item())
        await trio.sleep(1_200)
        assert world.b.names() == [b"Tom's Music"]
        world.a.publish(item(port=4000))
        await trio.sleep(1)
        assert [each.item.port for each in world.b.imports.values()] == [4000]

    on_virtual_time(main)


def test_a_device_that_dies_in_silence_is_withdrawn_at_the_next_refresh():
    async def main(world):
        world.bridge()
        world.a.publish(item())
        await trio.sleep(2)
        world.a.withdraw_device(item(), silently=True)
        await trio.sleep(62)
        assert world.b.names() == []

    on_virtual_time(main)


@pytest.mark.parametrize("kind", [MemoryStore, Polled])
def test_when_the_exporter_dies_its_services_go_with_their_lease(kind):
    async def main(world):
        world.bridge()
        world.a.publish(item())
        await trio.sleep(2)
        world.export_scope.cancel()
        await trio.sleep(290)
        assert world.b.names() == [b"Tom's Music"]
        await trio.sleep(60)
        assert world.b.names() == []

    on_virtual_time(main, kind)


def test_an_exporter_that_ends_well_removes_everything_at_once():
    async def main(world):
        world.bridge()
        for number in range(30):
            world.a.publish(item(b"service %d" % number))
        await trio.sleep(3)
        assert len(world.b.imports) == 30
        world.export_scope.cancel()
        await world.exporting.close()
        await trio.sleep(1)
        assert world.b.names() == []
        assert not any(world.table.live(key) for key in world.table.entries)

    on_virtual_time(main)


def test_an_importer_that_ends_takes_everything_from_its_link():
    async def main(world):
        world.bridge()
        world.a.publish(item())
        await trio.sleep(2)
        world.import_scope.cancel()
        await trio.lowlevel.checkpoint()
        await world.importing.close("z2z ends")
        assert world.b.names() == []
        assert world.said[-1].reason == "z2z ends"

    on_virtual_time(main)


def test_a_store_that_fails_is_tried_again():
    async def main(world):
        world.bridge()
        world.a.publish(item())
        await trio.sleep(20)
        assert world.b.names() == [b"Tom's Music"]
        assert world.events() == ["failed", "exported", "imported"] or world.events() == [
            "failed",
            "imported",
            "exported",
        ]

    on_virtual_time(main, Failing)


def test_a_name_that_a_local_device_has_stays_with_it():
    async def main(world):
        world.b.publish(item(host=b"here"))
        world.bridge()
        world.a.publish(item())
        await trio.sleep(3)
        assert world.b.names() == [b"Tom's Music (office)"]

    on_virtual_time(main)


def test_an_import_that_stands_by_shows_the_latest_data_when_its_turn_comes():
    async def main(world):
        world.bridge()
        world.a.publish(item())
        await trio.sleep(2)
        (registration_id,) = world.b.imports
        world.b._send.send_nowait(StandingBy(id=registration_id, source="192.0.2.1"))
        await trio.sleep(1)
        assert world.importing.importer.status()[0].state == "standby"
        world.a.publish(item(port=4000))
        await trio.sleep(1)
        assert [each.item.port for each in world.b.imports.values()] == [4000]
        world.b._send.send_nowait(Registered(id=registration_id, instance=b"Tom's Music"))
        await trio.sleep(1)
        assert world.importing.importer.status()[0].state == "imported"

    on_virtual_time(main)


def test_an_item_that_the_link_cannot_carry_is_refused_by_name():
    async def main(world):
        world.b.refuses = "it does not fit in a message"
        world.bridge()
        world.a.publish(item())
        await trio.sleep(2)
        assert "does not fit" in world.said[-1].reason

    on_virtual_time(main)


def test_three_sites_in_a_loop_show_each_service_once():
    async def main(world):
        links = [MemoryLink() for _ in range(3)]
        for seed, link in enumerate(links, 1):
            world.nursery.start_soon(link.run)
            world.start(world.exporter(link, seed).run, [DAAP])
            world.start(world.importer(link, seed).run, world.sources(seed), 10)
        links[0].publish(item())
        await trio.sleep(60)
        assert [link.names() for link in links] == [[], [b"Tom's Music"], [b"Tom's Music"]]
        # What an importer announces is on its link too, and its exporter sees it there.
        (registration,) = links[1].imports.values()
        imported = item(host=registration.host_label)
        links[1].publish(imported)
        await trio.sleep(60)
        links[0].withdraw_device(item())
        await trio.sleep(2)
        assert [link.names() for link in links] == [[], [], []]

    on_virtual_time(main)


def test_a_dry_run_says_the_same_and_changes_nothing():
    async def main(world):
        world.a.publish(item())
        exporting = ExportSide(
            world.exporter(world.a).exporter,
            world.a,
            ReadOnlyStore(MemoryStore(b"w" * 32, world.table)),
            world.said.append,
        )
        world.start(exporting.run, [DAAP])
        await trio.sleep(2)
        assert world.events() == ["exported"]
        assert world.table.entries == {}
        await MemoryStore(signer().public_key, world.table).put(*stored_put())
        silent = SilentLink(world.b)
        importing = ImportSide(world.importer(silent).importer, silent, world.said.append, lambda: ())
        scope = world.start(importing.run, world.sources(), 10)
        await trio.sleep(2)
        assert world.events() == ["exported", "imported"]
        assert world.b.imports == {}
        scope.cancel()

    on_virtual_time(main)


def stored_put():
    core = Exporter(ExportConfig(site=site(), keys=("office",)), signer(), Random(1), first_seq=1)
    put = core.found(item(), 0)[0]
    return put.key, put.name, put.value, 300


@asynccontextmanager
async def sleeping(alarm, deadline, woken):
    async def sleep():
        await alarm.sleep_until(deadline)
        woken.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep)
        yield


def test_an_alarm_wakes_at_its_deadline_or_when_rung():
    async def main(world):
        alarm, woken, start = Alarm(), [], trio.current_time()
        async with sleeping(alarm, start + 5, woken):
            pass
        async with sleeping(alarm, start + 50, woken):
            await trio.sleep(1)
            alarm.ring()
        assert woken == [start + 5, start + 6]

    on_virtual_time(main)


@pytest.mark.parametrize("kind", [MemoryStore, Polled])
@pytest.mark.parametrize("side", ["exporting", "importing"])
def test_rules_that_change_take_services_back_and_bring_them_at_once(side, kind):
    async def main(world):
        world.bridge()
        world.a.publish(item())
        await trio.sleep(12)
        assert world.b.names() == [b"Tom's Music"]
        getattr(world, side).set_rules(parse_rules('default = "deny"'))
        await trio.sleep(21 if side == "exporting" and kind is Polled else 1)
        assert world.b.names() == []
        getattr(world, side).set_rules(parse_rules('default = "allow"'))
        await trio.sleep(11 if side == "exporting" and kind is Polled else 1)
        assert world.b.names() == [b"Tom's Music"]

    on_virtual_time(main, kind)


def test_rules_that_change_while_the_store_does_not_answer_are_obeyed(caplog):
    class Silent(Polled):
        silent = False

        async def get(self, key):
            if self.silent:
                raise StoreError("no node answered")
            return await super().get(key)

    async def main(world):
        world.bridge()
        world.a.publish(item())
        await trio.sleep(12)
        Silent.silent = True
        world.importing.set_rules(parse_rules('default = "deny"'))
        await trio.sleep(1)
        assert world.b.names() == []
        assert "looking for office: no node answered" in caplog.text

    on_virtual_time(main, Silent)
