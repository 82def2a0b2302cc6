"""The command lines of `netserv app`."""

import argparse
import re
from ipaddress import ip_address
from typing import Any, Final, Protocol

from dhtboot.one_line_parser import OneLineParser
from netserv.cli_deploy_options import add_serving, ports, ttl
from netserv.publisher.keep_alives.agents import AGENTS_MOST, Config

SIP_PORT: Final = 5060
KEEP_ALIVE_EXAMPLES: Final = """\
examples:
  netserv app keep-alive --key alice.pem --user alice              beside the SIP server, as root
  netserv app keep-alive --key alice.pem --user alice --port 5060,5070 --address 192.0.2.1 --json
  netserv module build --app keep-alive --key alice.pem            the module alone, for netserv deploy

It sees which user agents' keep-alives reach the server, and deploys NetServ.apps.KeepAlive towards each: from then on
nodes on the path answer them with the server's address. It is refreshed as long as nodes have something to answer, and
removed from those that nobody needs any more. Ctrl-C and SIGTERM remove it from all; then the server answers again.
"""


class AddCommand(Protocol):
    """Takes name, help and examples of a command, and gives its parser."""

    def __call__(self, name: str, text: str, examples: str, /) -> Any:
        """Add it."""


class Asking(Protocol):
    """Adds what all requests take."""

    def __call__(self, parser: OneLineParser, *, toward: bool) -> None:
        """Add it."""


def add_apps(add_command: AddCommand, add_asking: Asking) -> None:
    """Add the applications."""
    text = "have nodes answer the keep-alives of a SIP server's user agents, until stopped"
    keep_alive = add_command("keep-alive", text, KEEP_ALIVE_EXAMPLES)
    _keep_alive(keep_alive)
    add_asking(keep_alive, toward=False)


def _keep_alive(parser: OneLineParser) -> None:
    add, config = parser.add_argument, Config()
    add("--port", type=ports, default=(SIP_PORT,), metavar="LIST", help=f"UDP ports of the server ({SIP_PORT})")
    add("--address", type=_address, help="of the server (the one to which the first keep-alive comes)")
    add("--ttl", type=ttl, default=config.ttl_s, metavar="S", help=f"seconds to live unrefreshed ({config.ttl_s})")
    add(
        "--idle",
        type=_seconds,
        default=config.idle_s,
        metavar="S",
        help=f"remove it after so long without a keep-alive ({config.idle_s:g})",
    )
    add(
        "--most",
        type=_count,
        default=config.agents_max,
        metavar="N",
        help=f"addresses of user agents to deploy towards ({config.agents_max})",
    )
    add_serving(parser)


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address") from None


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]+)?", text) or float(text) < 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 1..999999 seconds")
    return float(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= AGENTS_MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 1..{AGENTS_MOST}")
    return int(text)
