"""The options of `z2z browse` and `z2z status`."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from dhtboot.one_line_parser import OneLineParser
from z2z.cli_values import add_common, service_type, within

Make = Callable[..., argparse.ArgumentParser]


class BrowseOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`z2z browse [TYPE]`."""

    service_type: str | None
    interface: str | None
    seconds: float
    json: bool
    verbosity: int = 0


class StatusOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`z2z status`."""

    state_dir: Path
    prometheus: bool = False
    json: bool
    verbosity: int = 0


def browse_parser(make: Make = OneLineParser) -> argparse.ArgumentParser:
    """The parser of `z2z browse`; `make` is the class, or `add_parser` of a larger one."""
    parser = make(prog="z2z browse", description="Lists the services that this link shows.", allow_abbrev=False)
    parser.add_argument("type", nargs="?", type=service_type, metavar="TYPE", help="only this type, as _ipp._tcp")
    parser.add_argument("--seconds", type=within(float, 0.5, 3600), default=3.0, help="how long to look (3)")
    add_common(parser, interface=True)
    return parser


def browse_options(argv: Sequence[str]) -> BrowseOptions:
    """Return the checked options of `z2z browse`."""
    args = browse_parser().parse_args(argv)
    return BrowseOptions(service_type=args.type, interface=args.interface, seconds=args.seconds, json=args.json)


def status_parser(make: Make = OneLineParser) -> argparse.ArgumentParser:
    """The parser of `z2z status`; `make` as above."""
    parser = make(prog="z2z status", description="Shows what running z2z do.", allow_abbrev=False)
    parser.add_argument("--prometheus", action="store_true", help="as Prometheus reads it")
    add_common(parser, state_dir=True)
    return parser


def status_options(argv: Sequence[str]) -> StatusOptions:
    """Return the checked options of `z2z status`."""
    args = status_parser().parse_args(argv)
    return StatusOptions(state_dir=args.state_dir, json=args.json, prometheus=args.prometheus)
