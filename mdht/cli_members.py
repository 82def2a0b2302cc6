"""`mdht members`: who is in the subnet of this link."""

import argparse
import hashlib
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from random import SystemRandom
from typing import Any, Final, TypeAlias

import msgspec
import trio

from dhtboot.ids import format_address
from mdht import rendezvous
from mdht.errors import LocalProtocolError, UnreachableError
from mdht.link_config import LinkConfig
from mdht.link_driver import Away, Core, Faults, LinkDriver
from mdht.link_host import AwayCodec, HostSettings, make_host
from mdht.link_io import UdpLink, open_link
from mdht.link_keys import read_keys
from mdht.link_state import HostState
from mdht.netifaces_io import interface_addresses
from mdht.subnet.effects import MemberChanged, Settled
from mdht.subnet.host import SubnetHost
from mdht.subnet.identity import Identity, Subnet, derive, overlay_bytes
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import HID_BYTES
from mdht.subnet.observer import Observer
from mdht.subnet.view import Member
from mdht.subnet.wire import LinkCodec

LISTEN_S: Final = 1.25
"A newcomer says hello three times and listens so long (mDHT design, section 6); an observer does the same."
HEARTBEATS: Final = 2.2
"Periods in which an observer hears everybody at least once, even where one heartbeat is lost; with their jitter."
GLANCE_S: Final = 0.02
OVERLAY_LOOK_S: Final = 0.2
"Between two looks at how it stands with the overlay."
LEAVE_S: Final = 1.0
"For saying goodbye twice, which takes 0.2 s."

OnEvent: TypeAlias = Callable[[MemberChanged | Settled], None]

EXAMPLES: Final = """\
examples:
  mdht members                                 who is in the subnet now
  mdht members --watch --json                  one line for each change, until Ctrl-C
  mdht members --key-file key                  of a subnet whose hosts share a passphrase
  mdht members --join                          be a member, until Ctrl-C
  mdht members --join --server 192.0.2.1:27184 and join the overlay of other subnets: see dhtboot serve

Without --join the host only listens: it says hello without an address, which members answer but do not count.
--join is experimental until `mdht run` itself is a member.
A key file has the passphrase on its first line; a second line is accepted too, while the passphrase is being changed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--watch", action="store_true", help="go on until stopped, with a line for each change")
    parser.add_argument("--join", action="store_true", help="become a member until stopped (experimental)")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument(
        "--interface", action="append", default=[], metavar="IF", help="of the link (the default route's)"
    )
    parser.add_argument("--network", default="z2z", type=_network, help="overlay whose members are meant (z2z)")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="passphrase that the hosts of the subnet share")
    parser.add_argument(
        "--server", metavar="HOST:PORT", help="bootstrap server of the overlay; without one, a ring of its own"
    )
    parser.add_argument(
        "--overlay", choices=("kademlia", "chord"), default="kademlia", help="protocol between subnets (kademlia)"
    )
    parser.add_argument("--port", type=int, default=0, help="UDP port for unicast of --join (0: any)")
    parser.add_argument("--allow-private", action="store_true", help="tell other subnets private addresses too")
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="of --join (~/.local/state/mdht/net-NETWORK)")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; twice for every detail")


def lasts(options: argparse.Namespace) -> bool:
    """Whether the command runs until it is stopped, so that being stopped is its regular end."""
    return bool(options.watch or options.join)


async def run(options: argparse.Namespace, faults: Faults | None = None) -> int:
    """Run the command.

    Args:
        options: the checked arguments.
        faults: what goes wrong on purpose, for tests.

    Raises:
        MdhtError: the link cannot be used, or nobody is there.
    """
    keys = () if options.key_file is None else read_keys(options.key_file, options.network)
    config = LinkConfig(overlay=options.network, interfaces=tuple(options.interface), port=options.port)
    scene = _Scene(options, keys, config, faults)
    if options.join:
        with HostState.open(options.state_dir) as state:
            await _join(scene, state)
    return await _observe(scene)


class _Scene:
    """What both ways of taking part need."""

    def __init__(
        self, options: argparse.Namespace, keys: tuple[bytes, ...], config: LinkConfig, faults: Faults | None
    ) -> None:
        self.options = options
        self.keys = keys
        self.config = config
        self.overlay_hash = hashlib.sha1(overlay_bytes(options.network), usedforsecurity=False).digest()
        self._faults = faults

    @asynccontextmanager
    async def driving(
        self,
        core: Core,
        link: UdpLink,
        on_event: Callable[[MemberChanged | Settled], None],
        keep: Callable[[int], None],
        away: Away | None = None,
    ) -> AsyncIterator[LinkDriver]:
        """Drive a core in the background."""
        driver = LinkDriver(
            core,
            LinkCodec(self.options.network, self.keys),
            link,
            keyed=bool(self.keys),
            keep=keep,
            on_event=on_event,
            away=away,
            faults=self._faults,
        )
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope(shield=True)  # a member still says goodbye when all else is cancelled
            nursery.start_soon(_carry, driver, self.config.look_s, scope)
            try:
                yield driver
            finally:
                scope.cancel()

    def line(self, text: str, **fields: Any) -> None:
        """Print one line for people or for programs."""
        fields["at"] = round(time.time(), 4)
        # Flushed, as readers in a pipeline wait for changes.
        print(msgspec.json.encode(fields).decode() if self.options.json else text, flush=True)

    def members(self, members: Iterable[Member], now: float) -> None:
        """Print some members."""
        for member in sorted(members, key=lambda each: each.hid):
            age_s = now - member.heard_at
            addresses = [format_address(address) for address in member.addresses]
            self.line(
                f"{member.hid.hex()}  {member.state.name.lower():<8} {member.incarnation:>11}  {age_s:>5.1f} s  "
                f"{', '.join(addresses)}",
                event="member",
                hid=member.hid.hex(),
                state=member.state.name.lower(),
                incarnation=member.incarnation,
                age_s=round(age_s, 3),
                addresses=addresses,
            )

    def head(self) -> None:
        """Print the head of the table."""
        if not self.options.json:
            print(f"{'host':<16}  {'state':<8} {'incarnation':>11}  {'heard':>7}  addresses", flush=True)

    def settled(self, subnet: Subnet | None) -> None:
        """Print which subnet this host is in from now on."""
        if subnet is None:
            self.line("in no subnet", event="settled", subnet=None)
            return
        node_id = f"{subnet.identity.node_id(self.options.network):040x}"
        kind = subnet.identity.kind.name.lower()
        tag = subnet.tag.hex()
        self.line(f"in subnet {tag}, node {node_id}", event="settled", subnet=tag, node=node_id, identity=kind)

    def ended(self, driver: LinkDriver) -> None:
        """Print what was counted."""
        totals = driver.totals()
        if self.options.json or self.options.verbose:
            self.line(", ".join(f"{name} {count}" for name, count in totals.items()), event="ended", counters=totals)


async def _carry(driver: LinkDriver, look_s: float, scope: trio.CancelScope) -> None:
    with scope:
        await driver.run(look_s)


async def _observe(scene: _Scene) -> int:
    """Listen for as long as all members need to be heard, or until cancelled."""
    core = Observer(secrets.token_bytes(HID_BYTES), scene.overlay_hash, MembershipConfig(), SystemRandom())
    told = False

    def on_event(event: MemberChanged | Settled) -> None:
        if isinstance(event, Settled):
            return
        member = core.view.get(event.hid)
        if told and member is not None:
            scene.members([member], trio.current_time())

    async with open_link(scene.config) as link, scene.driving(core, link, on_event, _keep_nothing) as driver:
        driver.perform(core.start(trio.current_time()))
        await _heard_all(core)
        if not core.view.live and not scene.options.watch:
            raise UnreachableError(_nobody(scene, link, driver))
        scene.head()
        scene.members(core.view, trio.current_time())
        if scene.options.watch:
            told = True
            try:
                await trio.sleep_forever()
            finally:
                scene.ended(driver)
    return 0


async def _heard_all(core: Observer) -> None:
    started = trio.current_time()
    await trio.sleep(LISTEN_S)
    while True:
        missing = core.view.live and not core.complete
        if not missing or trio.current_time() >= started + HEARTBEATS * core.heartbeat_s():
            return
        await trio.sleep(GLANCE_S)


def _nobody(scene: _Scene, link: UdpLink, driver: LinkDriver) -> str:
    where = f"no member of {scene.options.network} answers on {', '.join(link.interfaces)}"
    refused = driver.counters["refused"]
    if refused:
        return f"{where}; {refused} datagrams were refused, so there may be one with another key (--key-file)"
    return f"{where}; start one (mdht members --join), or name another link with --interface"


def _keep_nothing(_incarnation: int) -> None:
    """An observer's name is forgotten with it."""


async def _join(scene: _Scene, state: HostState) -> None:
    """Be a member until cancelled; then say goodbye."""

    def on_event(event: MemberChanged | Settled) -> None:
        if isinstance(event, Settled):
            scene.settled(event.subnet)
            return
        member = core.membership.view.get(event.hid)
        if member is not None:
            scene.members([member], trio.current_time())

    settings = await _settings(scene.options)
    async with open_link(scene.config) as link:
        core = _host(settings, state, link)
        away = Away(core, AwayCodec(settings, scene.keys))
        async with scene.driving(core, link, on_event, state.keep, away) as driver:
            addresses = [format_address(address) for address in link.addresses]
            fields: dict[str, Any] = {
                "hid": state.hid.hex(),
                "incarnation": state.incarnation,
                "addresses": addresses,
                "interfaces": link.interfaces,
            }
            scene.line(
                f"host {state.hid.hex()} joins {scene.options.network} at {', '.join(addresses)}",
                event="joins",
                **fields,
            )
            scene.head()
            driver.perform(core.start(trio.current_time()))
            try:
                await _tell_of_overlay(scene, core)
            finally:
                with trio.CancelScope(shield=True):
                    await _leave(core, driver)
                scene.ended(driver)


async def _settings(options: argparse.Namespace) -> HostSettings:
    server = None if options.server is None else (await rendezvous.resolve(options.server, SystemRandom()))[0]
    return HostSettings(
        network=options.network, protocol=options.overlay, server=server, allow_private=options.allow_private
    )


def _host(settings: HostSettings, state: HostState, link: UdpLink) -> SubnetHost:
    rng = SystemRandom()

    def identity() -> Identity:
        return derive([each for name in link.interfaces for each in interface_addresses(name)], rng)

    return make_host(settings, state.hid, state.incarnation, lambda: link.addresses, identity, rng)


async def _tell_of_overlay(scene: _Scene, core: SubnetHost) -> None:
    """Print how it stands with the overlay whenever that has changed, for ever."""
    told: tuple[object, ...] = ()
    while True:
        part = core.part
        if part is not None:
            neighbours = len(part.step.neighbours())
            ring, changes = part.step.ring_id.hex(), part.step.state.changes.made
            now = (part.stage.value, ring, neighbours, changes)
            if now != told:
                told = now
                scene.line(
                    f"overlay: {part.stage.value}, ring {ring}, {neighbours} neighbours, {changes} structural changes",
                    event="overlay",
                    stage=part.stage.value,
                    ring=ring,
                    neighbours=neighbours,
                    structural_changes=changes,
                )
        await trio.sleep(OVERLAY_LOOK_S)


async def _leave(core: SubnetHost, driver: LinkDriver) -> None:
    driver.perform(core.leave(trio.current_time()))
    with trio.move_on_after(LEAVE_S):
        while True:
            if math.isinf(core.next_deadline()):
                return
            await trio.sleep(GLANCE_S)


def _network(text: str) -> str:
    try:
        overlay_bytes(text)
    except LocalProtocolError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text
