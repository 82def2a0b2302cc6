"""The options of `z2z install-units`."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from dhtboot.one_line_parser import OneLineParser
from z2z.systemd_units import NAMES, UnitName

UNITS_EXAMPLES: Final = """\
examples:
  z2z install-units                            z2z and mdht as services of this machine (as root)
  z2z install-units z2z --user                 z2z as a service of yours, for systemctl --user
  z2z install-units --print                    what would be written

z2z.service does what /etc/z2z/z2z.toml says, that of a user what ~/.config/z2z.toml says.
mdht.service takes part in the overlay without carrying services, as an entry point for others; its options stand in
/etc/default/mdht (MDHT_OPTIONS=--bootstrap HOST:PORT), those of a user in ~/.config/mdht.env.
sudo z2z status asks the service of the machine too; sudo mdht status --state-dir /var/lib/mdht the other one.
"""


class UnitsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`z2z install-units`."""

    units: tuple[UnitName, ...]
    user: bool
    only_print: bool
    directory: Path | None
    json: bool = False
    verbosity: int = 0


def units_parser(make: Callable[..., argparse.ArgumentParser] = OneLineParser) -> argparse.ArgumentParser:
    """The parser of `z2z install-units`; `make` is the class, or `add_parser` of a larger one."""
    parser = make(
        prog="z2z install-units",
        description="Writes the units by which systemd runs these programs from where they are installed.",
        epilog=UNITS_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    # `choices` and nargs="*" do not go together: argparse checks the empty list too.
    parser.add_argument("units", nargs="*", metavar="UNIT", type=_unit, help="z2z or mdht (both)")
    parser.add_argument("--user", action="store_true", help="for this user's manager: systemctl --user")
    parser.add_argument("--print", dest="only_print", action="store_true", help="print them, and write nothing")
    parser.add_argument(
        "--directory", type=Path, metavar="DIR", help="(/etc/systemd/system; ~/.config/systemd/user with --user)"
    )
    return parser


def units_options(argv: Sequence[str]) -> UnitsOptions:
    """The checked options of `z2z install-units`."""
    args = units_parser().parse_args(argv)
    return UnitsOptions(
        units=tuple(dict.fromkeys(args.units)) or NAMES,
        user=args.user,
        only_print=args.only_print,
        directory=args.directory,
    )


def _unit(text: str) -> UnitName:
    for name in NAMES:
        if text in {name, f"{name}.service"}:
            return name
    raise argparse.ArgumentTypeError(f"{text!r} is neither {' nor '.join(NAMES)}")
