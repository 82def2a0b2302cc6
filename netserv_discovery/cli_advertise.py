"""`netserv-discovery advertise`: announce this machine's node until stopped."""

import argparse
import logging
import os
from types import MappingProxyType
from typing import Any, Final

import trio

from mdht.cli_running import reread_on_hangup
from mdht.service_manager import of_this_process
from netserv_discovery.advertiser import (
    AdvertiserSettings,
    FactsSource,
    Running,
    advertising,
    load_now,
    own_addresses,
)
from netserv_discovery.advertising import Facts
from netserv_discovery.cli_output import dht_settings, tell
from netserv_discovery.covers import read_covers
from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.facts_file import FactsFile, offers, parse_facts
from netserv_discovery.own_key import Identity, own_identity
from netserv_discovery.policy import DEFAULT, Policy, View, Where, parse_policy, with_private, with_sites
from netserv_discovery.record import Limits
from netserv_discovery.text_files import read_text
from netserv_discovery.versions import Offer, folded

log = logging.getLogger(__name__)

GLANCE_S: Final = 0.05
"Between looks whether the DHT has all records, to say so."
_OFF: Final = View(show=None)


async def run(options: argparse.Namespace) -> int:
    """Advertise until cancelled.

    Raises:
        DiscoveryError: it cannot begin.
    """
    facts_file = FactsFiles(options)
    await trio.to_thread.run_sync(facts_file.read)
    identity = own_identity(
        key_file=options.key,
        node_id=options.node_id or facts_file.facts.node_id,
        state_dir=options.state_dir,
        environ=os.environ,
    )
    settings = AdvertiserSettings(
        policy=await trio.to_thread.run_sync(policy_of, options),
        cover=(await trio.to_thread.run_sync(read_covers, options.secret, options.secret_file))[0],
        lease_s=options.lease,
        interfaces=tuple(options.interface),
        dht=dht_settings(options),
        ping=not options.no_ping,
        ping_port=options.ping_port or 0,
    )
    async with advertising(identity, facts_file.source(identity), settings) as running, trio.open_nursery() as nursery:
        await nursery.start(reread_on_hangup, lambda: _reread(options, facts_file, running), (LocalProtocolError,))
        tell(options, _ready_text(identity, running), _ready_fields(identity, running))
        for where, reason in running.hidden.items():
            if where not in _switched_off(options):
                log.warning("not shown in %s: %s", where, reason)
        nursery.start_soon(_say_stored, options, running)
        nursery.start_soon(of_this_process().report, lambda: f"{running.stored} records in the DHT")
        await trio.sleep_forever()
    return 0  # not reached: only cancelling ends it


def policy_of(options: argparse.Namespace) -> Policy:
    """The policy of the file, as far as options do not say otherwise.

    Raises:
        LocalProtocolError: the file says what cannot be meant.
    """
    policy = DEFAULT
    if options.policy is not None:
        try:
            policy = parse_policy(read_text(options.policy, "policy"))
        except LocalProtocolError as error:
            raise LocalProtocolError(f"policy {options.policy}: {error}") from error
    if options.sites:
        policy = with_sites(policy, options.sites)
    if options.allow_private:
        policy = with_private(policy)
    return Policy(MappingProxyType(dict(policy.views) | dict.fromkeys(_switched_off(options), _OFF)))


def _switched_off(options: argparse.Namespace) -> tuple[Where, ...]:
    off = [Where.LINK] if options.no_link else []
    off += [Where.DHT] if options.no_dht else []
    # Nobody who does not speak of sites misses them.
    return (*off, *(() if options.sites or options.policy else (Where.SITES,)))


class FactsFiles:
    """What the options and their file say of the node, read again on SIGHUP."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.facts = FactsFile()

    def read(self) -> None:
        """Read the file.

        Raises:
            LocalProtocolError: it says something else; what it said before stays.
        """
        path = self._options.facts
        if path is None:
            return
        try:
            self.facts = parse_facts(read_text(path, "facts"))
        except LocalProtocolError as error:
            raise LocalProtocolError(f"facts {path}: {error}") from error

    def source(self, identity: Identity) -> FactsSource:
        """Looks at the machine, beside what is said here."""
        return lambda: self._now(identity)

    def _now(self, identity: Identity) -> Facts:
        options, file = self._options, self.facts
        return Facts(
            node_id=identity.node_id,
            addresses=tuple(each.packed for each in options.address) or own_addresses(),
            gist_port=options.gist_port or file.gist_port,
            blocks=merged(offers(file.blocks), options.block),
            modules=merged(offers(file.modules), options.module),
            limits=Limits(file.limits.modules, file.limits.memory_mib, file.limits.ttl_s),
            load=load_now(),
            location=options.location or file.place(),
            operator=options.operator or file.operator,
        )


def merged(file: tuple[Offer, ...], options: list[Offer]) -> tuple[Offer, ...]:
    """Offers of the file and of options, which replace those of the same name."""
    named = {folded(each.name) for each in options}
    return tuple(dict.fromkeys([*(each for each in file if folded(each.name) not in named), *options]))


def _reread(options: argparse.Namespace, facts_file: FactsFiles, running: Running) -> None:
    facts_file.read()
    running.set_policy(policy_of(options))
    running.look()
    log.warning("facts and policy are read again")


async def _say_stored(options: argparse.Namespace, running: Running) -> None:
    while not running.settled:  # noqa: ASYNC110 - the core has no event for it
        await trio.sleep(GLANCE_S)
    if running.stored:
        text = f"{running.stored} records are in the DHT, through {running.through}"
        tell(options, text, {"event": "stored", "records": running.stored, "through": running.through})


def _ready_text(identity: Identity, running: Running) -> str:
    parts = [f"node {identity.node_id} is advertised"]
    if running.interfaces:
        parts.append(f"on {', '.join(running.interfaces)}")
    if running.ping_port:
        parts.append(f"answering pings at UDP port {running.ping_port}")
    return "; ".join(parts)


def _ready_fields(identity: Identity, running: Running) -> dict[str, Any]:
    return {
        "event": "advertised",
        "node_id": identity.node_id,
        "public_key": identity.key.public_key.hex(),
        "interfaces": running.interfaces,
        "ping_port": running.ping_port,
        "hidden": {where.value: reason for where, reason in running.hidden.items()},
    }
