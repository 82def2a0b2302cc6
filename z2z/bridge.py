"""One running z2z: opens the link and the stores, runs both sides, and cleans up behind them."""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from random import Random, SystemRandom
from typing import Final, Literal

import msgspec
import trio

from mdht.signing import SigningKey
from z2z.address_map import NO_MAP, AddressMap
from z2z.control import Answer, ProgramStatus, copy_name, only_copy, run_directory, serve
from z2z.cover import PLAIN, Cover
from z2z.dry_run import ReadOnlyStore, SilentLink
from z2z.export_side import ExportSide
from z2z.exporter import ExportConfig, Exporter
from z2z.import_side import ImportSide, Source
from z2z.importer import IMPORTS_MAX, ImportConfig, Importer
from z2z.keys import normalise
from z2z.known_sites import FILE_NAME, KnownSites
from z2z.mdns.link_io import MdnsLink, open_link
from z2z.mdns.outbox import PACKETS_PER_MINUTE, burst_of
from z2z.mdns.responder_config import ResponderConfig
from z2z.policy_file import PolicyFile
from z2z.policy_rules import NO_RULES
from z2z.reports import Report
from z2z.seal import Site
from z2z.sides import Say
from z2z.stores.base import Store
from z2z.stores.kinds import OpenStore, StoreSettings
from z2z.stores.registry import store_kind
from z2z.stores.stream import ANY_KEY
from z2z.this_host import LOOPBACK, default_interface, own_prefixes
from z2z.trust import Known, Policy, Trust

log = logging.getLogger(__name__)

CLEANUP_S: Final = 2.0
"Seconds for removing what was exported; with 1 s for goodbyes and 2 s for leaving the overlay, a stop takes 5 s."
LOOK_S: Final = 3.0
"Seconds in which a link shows all its services: two rounds of questions (RFC 6762 section 5.2)."
ONCE_S: Final = 15.0
"Longest time that `--once` waits for the store: joining an overlay, and two retries."
LOOK_AGAIN_S: Final = 0.2

Role = Literal["export", "import"]


class BridgeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one run, as checked by the command line."""

    exports: tuple[tuple[str, str], ...] = ()
    "Store and service type."
    imports: tuple[str, ...] = ()
    "Stores."
    keys: tuple[str, ...] = ()
    site: Site
    signer: SigningKey
    state_dir: Path
    ttl_s: int = 300
    refresh_s: float = 60.0
    poll_s: float = 10.0
    stale_s: float = 300.0
    imports_max: int = IMPORTS_MAX
    multicast_max: int = PACKETS_PER_MINUTE
    "Packets a minute that imports may cost a link."
    interface: str | None = None
    local_only: bool = False
    bootstrap: tuple[str, ...] = ()
    map_port: bool = False
    link_key_file: Path | None = None
    host_keys: bool = False
    proxy: str = ""
    allow_private: bool = False
    force_type: bool = False
    export_map: AddressMap = NO_MAP
    import_map: AddressMap = NO_MAP
    policy: Path | None = None
    "The file of the administrator's rules."
    once: bool = False
    dry_run: bool = False
    covers: tuple[Cover, ...] = (PLAIN,)
    "What is exported has the first one; imports may have any."
    trust: Policy = Policy.FIRST_USE
    sites: Path | None = None
    "The file of sites that are known; that of the state directory by default."


class _Outcome:
    """How a run ended."""

    def __init__(self) -> None:
        self.status = 0
        self.reason = ""


class Bridge:
    """One run of the program."""

    def __init__(self, config: BridgeConfig, say: Say, ready: Callable[[str], None]) -> None:
        """Make it.

        Args:
            config: what to do.
            say: tells the user of changes.
            ready: called with one line of what is going on, at the start and after another look at the policy.
        """
        self._config, self._user, self._ready = config, say, ready
        self._exporters: list[tuple[ExportSide, tuple[str, ...]]] = []
        self._importing: ImportSide | None = None
        self._sources: list[Source] = []
        self._stores: dict[str, OpenStore] = {}
        self._opened: list[OpenStore] = []
        self._interface = ""
        self._policy = PolicyFile(config.policy, config.trust)
        self._rules = NO_RULES
        self._links: list[MdnsLink] = []
        self._started = time.monotonic()

    async def run(self, stop: trio.Event) -> int:
        """Work until `stop` is set or the work is done; return the exit status.

        Raises:
            LocalProtocolError: another copy runs, or a setting cannot be used here.
            LinkError: the interface cannot be used.
        """
        config = self._config
        self._rules = self._policy.read()
        self._interface = config.interface or default_interface()
        name = copy_name(self._identity())
        directory = run_directory(config.state_dir)
        async with AsyncExitStack() as stack:
            stack.enter_context(only_copy(directory, name))
            await self._open(stack, config.state_dir / "copies" / name)
            await stack.enter_async_context(serve(directory, name, self.answer))
            self._ready(self._summary())
            if config.once or config.dry_run:
                return await self._brief(stop)
            return await self._steady(stop)

    def reread_policy(self) -> None:
        """Obey the policy as its file is now; a faulty one changes nothing."""
        rules = self._policy.reread()
        if rules is None:
            return
        self._rules = rules
        self._ready(f"policy: {self._policy.describe()}")
        for exporting, _ in self._exporters:
            exporting.set_rules(rules)
        if self._importing is not None:
            self._importing.set_rules(rules)

    def answer(self) -> Answer:
        """Return what `z2z status` shows."""
        config = self._config
        services = [line for side, _ in self._exporters for line in side.exporter.status()]
        if self._importing is not None:
            services += self._importing.importer.status()
        program = ProgramStatus(
            pid=os.getpid(),
            site=config.site.name,
            site_id=config.site.id.hex(),
            interface=self._interface,
            exports=tuple(f"{service_type} to {store}" for store, service_type in config.exports),
            imports=tuple(f"from {store}" for store in config.imports),
            keys=config.keys,
            stores={name: text for name, store in self._stores.items() if (text := store.describe())},
            uptime_s=round(time.monotonic() - self._started, 1),
            link=self._counted(),
            refused={} if self._importing is None else dict(self._importing.importer.counters),
            policy=self._policy.describe(),
        )
        return Answer(program=program, services=tuple(services))

    def _counted(self) -> dict[str, int]:
        """Counters of all links together."""
        found: Counter[str] = Counter()
        for link in self._links:
            found.update(msgspec.structs.asdict(link.stats()))
        return dict(found)

    async def _open(self, stack: AsyncExitStack, state_dir: Path) -> None:
        """Open stores first and links last, so that on the way out the goodbyes come first."""
        config, rng = self._config, SystemRandom()
        stores = {role: await self._open_stores(stack, role, names, state_dir) for role, names in self._roles().items()}
        links: dict[str, MdnsLink] = {}
        budget = ResponderConfig(packets_per_minute=config.multicast_max, burst=burst_of(config.multicast_max))
        for interface in {self._interface} if config.exports else set():
            links[interface] = await stack.enter_async_context(open_link(interface, config=budget))
        shown_on = LOOPBACK if config.local_only else self._interface
        if config.imports and shown_on not in links:
            links[shown_on] = await stack.enter_async_context(open_link(shown_on, config=budget))
        self._links = list(links.values())
        silent = config.once or config.dry_run
        for store_name, opened in stores["export"].items():
            types = tuple(service_type for name, service_type in config.exports if name == store_name)
            store = ReadOnlyStore(opened.store) if config.dry_run else opened.store
            side = ExportSide(self._exporter(rng), links[self._interface], store, self._say)
            self._exporters.append((side, types))
        if config.imports:
            sites, known = self._sites()
            settings = ImportConfig(site=config.site, stale_s=config.stale_s, imports_max=config.imports_max)
            importer = Importer(settings, rng, Trust(config.trust, known), config.import_map, self._rules)
            link = SilentLink(links[shown_on]) if silent else links[shown_on]
            self._importing = ImportSide(
                importer, link, self._say, partial(own_prefixes, shown_on), None if silent else sites
            )
            self._sources = [
                source
                for name, opened in stores["import"].items()
                for source in self._wanted(name if len(stores["import"]) > 1 else "", opened.store)
            ]

    def _sites(self) -> tuple[KnownSites | None, list[Known]]:
        """The file of known sites, where one is wanted, and those in it."""
        if self._config.trust is Policy.ANYBODY:
            return None, []
        path = self._config.sites or self._config.state_dir / FILE_NAME
        sites = KnownSites(path, fixed=self._config.trust is Policy.LISTED)
        return sites, sites.read()

    def _exporter(self, rng: Random) -> Exporter:
        config = self._config
        settings = ExportConfig(
            site=config.site,
            keys=config.keys,
            ttl_s=config.ttl_s,
            refresh_s=config.refresh_s,
            allow_private=config.allow_private,
            force_type=config.force_type,
        )
        first_seq = time.time_ns() // 1_000_000
        return Exporter(settings, config.signer, rng, first_seq, config.covers[0], config.export_map, self._rules)

    def _roles(self) -> dict[Role, tuple[str, ...]]:
        exports = tuple(dict.fromkeys(name for name, _ in self._config.exports))
        return {"export": exports, "import": self._config.imports}

    async def _open_stores(
        self, stack: AsyncExitStack, role: Role, names: Iterable[str], state_dir: Path
    ) -> dict[str, OpenStore]:
        config = self._config
        opened = {}
        for name in names:
            kind = store_kind(name)
            if name not in self._stores or kind.one_way:
                settings = StoreSettings(
                    signer=config.covers[0].writer(config.signer),
                    role=role,
                    state_dir=state_dir,
                    interface=self._interface,
                    bootstrap=config.bootstrap,
                    # Nothing is changed for a look, and nobody asks a program that is about to end.
                    map_port=config.map_port and not (config.dry_run or config.once),
                    link_key_file=config.link_key_file,
                    host_keys=config.host_keys,
                    proxy=config.proxy,
                    # With an entry point, the link need not hear of a program that shows itself only here.
                    presence=not (config.local_only and config.bootstrap),
                    ends_soon=config.once and role == "export",
                )
                self._stores[name] = await stack.enter_async_context(kind.open(settings))
                self._opened.append(self._stores[name])
            opened[name] = self._stores[name]
        return opened

    def _wanted(self, store_name: str, store: Store) -> Iterator[Source]:
        """What to look for in a store; labels name what there are several of."""
        for number, cover in enumerate(self._config.covers):
            where = f" in {store_name}" if store_name else ""
            where += " by the former secret" if number else ""
            if not self._config.keys:
                yield Source(label=f"everything{where}", store=store, key=ANY_KEY, cover=cover)
            for key in self._config.keys:
                yield Source(label=f"{key}{where}", store=store, key=cover.key(key), cover=cover)

    async def _steady(self, stop: trio.Event) -> int:
        """Work until stopped or a store is at its end, then take everything back."""
        outcome = _Outcome()
        try:
            async with trio.open_nursery() as nursery:
                self._start(nursery)
                for store in self._opened:
                    if store.ended is not None:
                        nursery.start_soon(self._await_end, store, outcome, nursery.cancel_scope)
                await stop.wait()
                nursery.cancel_scope.cancel()
        finally:
            with trio.move_on_after(CLEANUP_S, shield=True):
                async with trio.open_nursery() as nursery:
                    if self._importing is not None:
                        nursery.start_soon(self._importing.close, outcome.reason or "z2z ends")
                    for side, _ in self._exporters:
                        nursery.start_soon(side.close)
        return outcome.status

    async def _await_end(self, store: OpenStore, outcome: _Outcome, scope: trio.CancelScope) -> None:
        if store.ended is not None:
            await store.ended.wait()
            outcome.status, outcome.reason = store.end_status, store.end_text
            log.warning("%s: ending", store.end_text)
            scope.cancel()

    async def _brief(self, stop: trio.Event) -> int:
        """Look once: at link and stores for `LOOK_S`, then until the stores have answered."""
        missing: list[str] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on, stop, nursery.cancel_scope)
            self._start(nursery)
            await trio.sleep(LOOK_S)
            with trio.move_on_after(0 if self._config.dry_run else ONCE_S - LOOK_S):
                while self._waits():  # noqa: ASYNC110 - several cores, none of which knows events
                    await trio.sleep(LOOK_AGAIN_S)
            missing = self._missing()
            nursery.cancel_scope.cancel()
        for text in missing:
            log.warning("%s", text)
        return 1 if missing and self._config.once else 0

    def _start(self, nursery: trio.Nursery) -> None:
        for side, types in self._exporters:
            nursery.start_soon(side.run, types)
        if self._importing is not None:
            nursery.start_soon(self._importing.run, self._sources, self._config.poll_s)

    def _waits(self) -> bool:
        """Whether an answer of a store may still come."""
        unsettled = any(not side.exporter.settled for side, _ in self._exporters)
        ended = all(store.ended is not None and store.ended.is_set() for store in self._opened)
        return unsettled or (self._importing is not None and not self._importing.importer.count and not ended)

    def _missing(self) -> list[str]:
        """Return one line for each thing that was asked for and did not happen."""
        missing = []
        for side, types in self._exporters:
            if not side.exporter.count:
                missing.append(f"no {' or '.join(types)} to export was found on {self._interface} in {LOOK_S:.0f} s")
            elif not side.exporter.settled:
                missing.append(f"not every service was stored within {ONCE_S:.0f} s")
        if self._importing is not None and not self._importing.importer.count:
            missing.append(f"nothing was found under {', '.join(self._config.keys) or 'any key'}")
        return missing

    def _say(self, report: Report) -> None:
        if self._config.dry_run:
            with_secret = " and knows the secret" if self._config.covers[0].fingerprint else ""
            audience = f"everybody who imports {' or '.join(report.keys)}{with_secret} would see it"
            reason = audience if report.event == "exported" else report.reason
            report = msgspec.structs.replace(report, dry_run=True, reason=reason)
        elif self._config.once and report.event == "imported":  # looking once announces nothing
            report = msgspec.structs.replace(report, event="found")
        self._user(report)

    def _identity(self) -> tuple[str, ...]:
        """Return what makes another program a second copy of this one."""
        config = self._config
        return (
            *sorted(f"export:{store}:{service_type}" for store, service_type in config.exports),
            *sorted(f"import:{store}" for store in config.imports),
            *sorted(f"key:{normalise(key)}" for key in config.keys),
            *(f"secret:{cover.fingerprint}" for cover in config.covers if cover.fingerprint),
            f"dry run:{config.dry_run}",
            *((f"interface:{config.interface}",) if config.interface else ()),  # a copy for each link is none
        )

    def _summary(self) -> str:
        config = self._config
        keys = ", ".join(config.keys)
        parts = [
            f"exporting {service_type} of {self._interface} to {store} as {keys or 'its name'}"
            for store, service_type in config.exports
        ]
        where = "this machine" if config.local_only else self._interface
        parts += [f"importing {keys or 'everything'} from {store} to {where}" for store in config.imports]
        return f"{'; '.join(parts)} (site {config.site.name}, {config.site.id.hex()})"


async def _cancel_on(stop: trio.Event, scope: trio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()
