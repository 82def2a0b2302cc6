"""What the commands print: lines for people, or one JSON object per line for scripts."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from netserv_discovery.dht_settings import DhtSettings
from netserv_discovery.errors import LocalProtocolError

TEXT_MAX = 1 << 20
"Bytes of a file that a person has written: a policy with thousands of names."


def tell(options: argparse.Namespace, text: str, fields: Mapping[str, Any]) -> None:
    """Print one thing, at once, as readers in a pipeline wait for it."""
    print(msgspec.json.encode(fields).decode() if options.json else text, flush=True)


def read_text(path: Path, what: str) -> str:
    """Return the text of a file that a person has written.

    Args:
        path: the file.
        what: it is, for errors.

    Raises:
        LocalProtocolError: it cannot be read, is too long, or no text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(TEXT_MAX + 1)
        if len(data) > TEXT_MAX:
            raise LocalProtocolError(f"{what} {path}: more than {TEXT_MAX} bytes")
        return data.decode()
    except OSError as error:
        raise LocalProtocolError(f"{what} {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise LocalProtocolError(f"{what} {path}: not UTF-8") from error


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


def counted(counters: Mapping[str, int]) -> str:
    """Counters for people, `3 expired, 1 bad_signature`; empty where all are 0."""
    return ", ".join(f"{number} {name}" for name, number in sorted(counters.items()) if number)
