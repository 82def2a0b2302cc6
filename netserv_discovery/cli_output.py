"""What the commands print: lines for people, or one JSON object per line for scripts."""

import argparse
from collections.abc import Mapping
from typing import Any

import msgspec

from netserv_discovery.dht_settings import DhtSettings


def tell(options: argparse.Namespace, text: str, fields: Mapping[str, Any]) -> None:
    """Print one thing, at once, as readers in a pipeline wait for it."""
    print(msgspec.json.encode(fields).decode() if options.json else text, flush=True)


def dht_settings(options: argparse.Namespace) -> DhtSettings:
    """What the options say of the DHT."""
    return DhtSettings(
        network=options.network,
        bootstrap=tuple(options.bootstrap),
        interfaces=tuple(options.interface),
        presence=not options.no_presence,
        port=options.port,
        key_file=options.link_key_file,
        host_keys=options.host_keys,
        allow_private=options.allow_private,
        mdht_state_dir=options.mdht_state_dir,
        own_node=options.own_node,
    )
