"""The options of `z2z identity`."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from dhtboot.one_line_parser import OneLineParser
from z2z.cli_values import add_common, checked, default_site_name, site_name

IDENTITY_EXAMPLES: Final = """\
examples:
  z2z identity show                            who this site is, and whom it knows
  z2z identity export | ssh far z2z identity trust
                                               have the other site know this one before it exports anything
  z2z identity forget office                   the site "office" has a new key: the next one seen is believed

Importers remember the first key that they see under a site's name (--trust first-use), and refuse another one.
A site that changes its key: let others trust the new one first, then move identity.pem away; both are believed.
"""


class IdentityOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`z2z identity show|export|trust|forget`."""

    action: Literal["show", "export", "trust", "forget"]
    subject: str
    "A file of keys, or `-`, to trust; a name or an id to forget."
    identity: Path
    site_name: str
    state_dir: Path
    json: bool
    verbosity: int = 0


def identity_parser(make: Callable[..., argparse.ArgumentParser] = OneLineParser) -> argparse.ArgumentParser:
    """The parser of `z2z identity`; `make` is the class, or `add_parser` of a larger one."""
    parser = make(
        prog="z2z identity",
        description="The keys of this site, and of others.",
        epilog=IDENTITY_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    texts = {
        "show": "this site's name, id and key, and the sites that are known",
        "export": "the line that others need to trust this site",
        "trust": "believe the keys of such lines, under their names",
        "forget": "know a site no more",
    }
    for name, text in texts.items():
        action = actions.add_parser(name, help=text, description=text.capitalize() + ".", allow_abbrev=False)
        if name == "trust":
            action.add_argument(
                "subject", nargs="?", default="-", metavar="FILE", help="standard input if none is named"
            )
        if name == "forget":
            action.add_argument("subject", metavar="NAME|ID", help="as `z2z identity show` says")
        if name in {"show", "export"}:
            action.add_argument("--site", type=checked(site_name), metavar="NAME", help="its name (the host's)")
            action.add_argument("--identity", type=Path, metavar="FILE", help="its key; created when there is none")
        add_common(action, state_dir=True)
    return parser


def identity_options(argv: Sequence[str]) -> IdentityOptions:
    """The checked options of `z2z identity`."""
    args = identity_parser().parse_args(argv)
    return IdentityOptions(
        action=args.action,
        subject=getattr(args, "subject", ""),
        identity=getattr(args, "identity", None) or args.state_dir / "identity.pem",
        site_name=getattr(args, "site", None) or default_site_name(),
        state_dir=args.state_dir,
        json=args.json,
    )
