"""`mdht members`: who is in the subnet of this link."""

import argparse
import hashlib
import secrets
from pathlib import Path
from random import SystemRandom
from typing import Final

import trio

from mdht.cli_lines import Lines
from mdht.errors import LocalProtocolError, UnreachableError
from mdht.link_config import LinkConfig
from mdht.link_driver import LinkDriver
from mdht.link_io import UdpLink, open_link
from mdht.link_keys import read_keys
from mdht.signing import SigningKey
from mdht.subnet.effects import Event, MemberChanged
from mdht.subnet.host_keys import host_name
from mdht.subnet.identity import overlay_bytes
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import HID_BYTES
from mdht.subnet.observer import Observer
from mdht.subnet.proofs import Proofs
from mdht.subnet.wire import LinkCodec

LISTEN_S: Final = 1.25
"A newcomer says hello three times and listens so long (mDHT design, section 6); an observer does the same."
HEARTBEATS: Final = 2.2
"Periods in which an observer hears everybody at least once, even where one heartbeat is lost; with their jitter."
GLANCE_S: Final = 0.02

EXAMPLES: Final = """\
examples:
  mdht members                                 who is in the subnet now
  mdht members --watch --json                  one line for each change, until Ctrl-C
  mdht members --key-file key                  of a subnet whose hosts share a passphrase
  mdht members --host-keys                     of one whose hosts sign what they say

This host only listens: it says hello without an address, which members answer but do not count. To be one: mdht run.
A key file has the passphrase on its first line; a second line is accepted too, while the passphrase is being changed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--watch", action="store_true", help="go on until stopped, with a line for each change")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument(
        "--interface", action="append", default=[], metavar="IF", help="of the link (the default route's)"
    )
    parser.add_argument("--network", default="z2z", type=_network, help="overlay whose members are meant (z2z)")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="passphrase that the hosts of the subnet share")
    parser.add_argument("--host-keys", action="store_true", help="believe what hosts have signed, as they do")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; twice for every detail")


def lasts(options: argparse.Namespace) -> bool:
    """Whether the command runs until it is stopped, so that being stopped is its regular end."""
    return bool(options.watch)


async def run(options: argparse.Namespace) -> int:
    """Run the command.

    Args:
        options: the checked arguments.

    Raises:
        MdhtError: the link cannot be used, or nobody is there.
    """
    keys = () if options.key_file is None else read_keys(options.key_file, options.network)
    config = LinkConfig(overlay=options.network, interfaces=tuple(options.interface))
    return await _observe(options, keys, config)


async def _observe(options: argparse.Namespace, keys: tuple[bytes, ...], config: LinkConfig) -> int:
    """Listen for as long as all members need to be heard, or until cancelled."""
    overlay_hash = hashlib.sha1(overlay_bytes(options.network), usedforsecurity=False).digest()
    signer = SigningKey.generate() if options.host_keys else None
    hid = secrets.token_bytes(HID_BYTES) if signer is None else host_name(signer.public_key)
    core = Observer(hid, overlay_hash, MembershipConfig(), SystemRandom(), proven=signer is not None)
    lines = Lines(options.network, as_json=options.json)
    told = False

    def on_event(event: Event) -> None:
        if not isinstance(event, MemberChanged):
            return
        member = core.view.get(event.hid)
        if told and member is not None:
            lines.members([member], trio.current_time())

    async with open_link(config) as link, trio.open_nursery() as nursery:
        codec = LinkCodec(options.network, keys, signer)
        proofs = None if signer is None else Proofs()
        driver = LinkDriver(core, codec, link, keyed=bool(keys), keep=_keep_nothing, on_event=on_event, proofs=proofs)
        nursery.start_soon(driver.run, config.look_s)
        driver.perform(core.start(trio.current_time()))
        await _heard_all(core)
        if not core.view.live and not options.watch:
            raise UnreachableError(_nobody(options, link, driver))
        lines.head()
        lines.members(core.view, trio.current_time())
        if options.watch:
            told = True
            try:
                await trio.sleep_forever()
            finally:
                if options.json or options.verbose:
                    lines.ended(driver.totals())
        nursery.cancel_scope.cancel()
    return 0


async def _heard_all(core: Observer) -> None:
    started = trio.current_time()
    await trio.sleep(LISTEN_S)
    while True:
        missing = core.view.live and not core.complete
        if not missing or trio.current_time() >= started + HEARTBEATS * core.heartbeat_s():
            return
        await trio.sleep(GLANCE_S)


def _nobody(options: argparse.Namespace, link: UdpLink, driver: LinkDriver) -> str:
    where = f"no member of {options.network} answers on {', '.join(link.interfaces)}"
    refused = driver.counters["refused"]
    if driver.counters["signed"]:
        return f"{where} without signing; add --host-keys"
    if driver.counters["unsigned"]:
        return f"{where} with a signature; leave out --host-keys"
    if refused:
        return f"{where}; {refused} datagrams were refused, so there may be one with another key (--key-file)"
    return f"{where}; start one (mdht run), or name another link with --interface"


def _keep_nothing(_incarnation: int) -> None:
    """An observer's name is forgotten with it."""


def _network(text: str) -> str:
    try:
        overlay_bytes(text)
    except LocalProtocolError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text
