"""What `netserv module` may be told."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from netserv.apps.sources import NAMES

NEW_EXAMPLES: Final = """\
examples:
  netserv module new com.example.Hello                 a server and packet module in ./hello
  netserv module new com.example.Hello --kind packet --directory src/hello
"""
BUILD_EXAMPLES: Final = """\
examples:
  netserv module build hello --key alice.pem           com.example.Hello_0.1.0.zip, signed
  netserv module build hello --output hello.zip        to be signed elsewhere: see netserv module sign
  netserv module build hello --key alice.pem --json | jq -r .digest
  netserv module build --app keep-alive --key alice.pem

The same files and key give the same bytes on every machine. Left out are hidden files, tests/, build/, dist/, and files
ending in .pyc, .zip, .pem and ~.
"""
SIGN_EXAMPLES: Final = """\
examples:
  netserv module sign hello.zip --key alice.pem        in place; an earlier signature is replaced
  netserv module sign hello.zip --key alice.pem --output signed.zip
"""
VERIFY_EXAMPLES: Final = """\
examples:
  netserv module verify hello.zip                      every rule that nodes have, and whose key has signed
  netserv module verify hello.zip --key alice.pem
  netserv module verify hello.zip --publishers publishers.toml --user alice

exit status: 0 a node would take it, 1 it would not
"""
SHOW_EXAMPLES: Final = """\
examples:
  netserv module show hello.zip                        what it is, what is in it, who has signed
  netserv module show hello.zip --json | jq -r .manifest.requires[]
"""

AddCommand = Callable[[str, str, str], argparse.ArgumentParser]


def add_actions(add_command: AddCommand) -> None:
    """Add the actions of `netserv module`.

    Args:
        add_command: takes name, help and examples of an action, and gives its parser.
    """
    new = add_command("new", "write a module to begin with", NEW_EXAMPLES)
    new.add_argument("name", metavar="NAME", help="of the module, with dots, as com.example.Hello")
    new.add_argument("--kind", choices=("server", "packet", "both"), default="both", help="what it is to do (both)")
    new.add_argument("--directory", type=Path, metavar="DIR", help="a new one (the last part of NAME)")
    build = add_command("build", "pack a module into a bundle", BUILD_EXAMPLES)
    what = build.add_mutually_exclusive_group(required=True)
    what.add_argument("directory", nargs="?", type=Path, metavar="DIR", help="where its module.toml is")
    what.add_argument("--app", choices=tuple(NAMES), help="one of those that come with NetServ, instead of DIR")
    build.add_argument("--key", type=Path, metavar="FILE", help="sign with this key; see netserv key new")
    build.add_argument("--output", "-o", type=Path, metavar="FILE", help="the bundle (NAME_VERSION.zip)")
    sign = add_command("sign", "sign a bundle", SIGN_EXAMPLES)
    sign.add_argument("file", type=Path, metavar="FILE", help="the bundle")
    sign.add_argument("--key", type=Path, metavar="FILE", required=True, help="the publisher's; see netserv key new")
    sign.add_argument("--output", "-o", type=Path, metavar="FILE", help="the signed one (FILE itself)")
    check = add_command("verify", "check a bundle as nodes do", VERIFY_EXAMPLES)
    check.add_argument("file", type=Path, metavar="FILE", help="the bundle")
    check.add_argument("--key", type=Path, metavar="FILE", help="it has to be signed with this key")
    check.add_argument("--publishers", type=Path, metavar="FILE", help="or with one of user NAME in this file")
    check.add_argument("--user", metavar="NAME", help="publisher, as that file has him")
    show = add_command("show", "print what a bundle says of its module", SHOW_EXAMPLES)
    show.add_argument("file", type=Path, metavar="FILE", help="the bundle")
    for parser in (new, build, sign, check, show):
        parser.add_argument("--json", action="store_true", help="one JSON object")
