"""What the words of a command line may be, and options that several commands have."""

import argparse
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mdht.errors import LocalProtocolError as MdhtLocalError
from mdht.rendezvous import parse as parse_entry_point
from mdht.state_home import state_home
from z2z.errors import Z2zError
from z2z.keys import normalise
from z2z.seal import SITE_ID_BYTES, Site
from z2z.service_item import check_service_type

T = TypeVar("T")


def default_site_name() -> str:
    """Return the short name of this host."""
    name = socket.gethostname().partition(".")[0]
    try:
        return Site(id=bytes(SITE_ID_BYTES), name=name).name
    except Z2zError:
        return "site"


def default_state_dir() -> Path:
    """Return `$XDG_STATE_HOME/z2z`, by default `~/.local/state/z2z`."""
    return state_home(os.environ) / "z2z"


def add_common(parser: argparse.ArgumentParser, *, interface: bool = False, state_dir: bool = False) -> None:
    """Add options that several commands have."""
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    if interface:
        parser.add_argument("--interface", metavar="IF", help="the link (that of the default route)")
    if state_dir:
        parser.add_argument(
            "--state-dir", type=Path, default=default_state_dir(), metavar="DIR", help="(~/.local/state/z2z)"
        )


def checked(check: Callable[[str], T]) -> Callable[[str], T]:
    """Turn our errors into argparse's, which names the option."""

    def convert(text: str) -> T:
        try:
            return check(text)
        except (Z2zError, MdhtLocalError) as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def within(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    """A number of seconds within bounds."""

    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from error
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not within {low:g}..{high:g} seconds")
        return value

    return convert


def service_type(text: str) -> str:
    """A type of DNS-SD services."""
    return checked(check_service_type)(text)


def key_text(text: str) -> str:
    """A key, as typed."""
    normalise(text)
    return text


def site_name(text: str) -> str:
    """What people call a site."""
    return Site(id=bytes(SITE_ID_BYTES), name=text).name


def entry_point(text: str) -> str:
    """A way into the overlay."""
    parse_entry_point(text)
    return text
