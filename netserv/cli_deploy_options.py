"""The command lines of `netserv deploy` and `netserv remove`."""

import argparse
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from dhtboot.ids import Address
from dhtboot.one_line_parser import OneLineParser
from mdht import http_io
from mdht.errors import LocalProtocolError as ServerError
from netserv.errors import NetservError
from netserv.forwarding.filters import PROTOCOLS, Prefix
from netserv.publisher.wishes import TTL_S
from netserv.signaling.nslp.values import ModuleRef, read_ports

INSTALL_S: Final = 60.0
"For a bundle of 64 MiB at 10 Mbit/s."
TTL_MAX_S: Final = 31_536_000
_PROPERTY: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}=[^,\x00-\x1f]*")

DEPLOY_EXAMPLES: Final = """\
examples:
  netserv deploy keepalive.zip --toward 10.3.0.2 --key alice.pem --user alice --filter-proto udp --filter-port 5060
  netserv deploy monitor.zip --toward 10.3.0.2 --key alice.pem --user alice --url https://alice.example/monitor.zip
  netserv deploy cache.zip --toward 10.3.0.2 --key alice.pem --user alice --ttl 600 --keep     until Ctrl-C, then gone
  netserv deploy cache.zip --near-user 10.3.0.2 --key alice.pem --user alice --property origin=10.1.0.2 --json

Without --url this machine serves the bundle while nodes fetch it. Packets that go to the module are those to this
machine unless --filter-dst says otherwise. It is removed by `netserv remove`, or when its time to live is over.
exit status: 0 it runs on a node at least, 1 on none, 2 wrong usage, 130 stopped by Ctrl-C
"""
REMOVE_EXAMPLES: Final = """\
examples:
  netserv remove NetServ.apps.KeepAlive_1.0.0 --toward 10.3.0.2 --key alice.pem --user alice
"""


def add_deploy(parser: OneLineParser) -> None:
    """Add what `deploy` takes beside what all requests take."""
    add = parser.add_argument
    add("file", type=Path, metavar="BUNDLE", help="signed bundle; see netserv module build")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--toward", metavar="HOST", help="host that the path leads to: all nodes on it")
    way.add_argument("--near-user", metavar="HOST", help="only the node nearest to it that has the blocks")
    add("--ttl", type=ttl, default=TTL_S, metavar="S", help=f"seconds to live, which nodes may lower ({TTL_S})")
    add("--keep", action="store_true", help="refresh it until Ctrl-C, and remove it then")
    add("--wait", type=_wait, default=INSTALL_S, metavar="S", help=f"for nodes to install it ({INSTALL_S:g})")
    add("--filter-proto", choices=sorted(PROTOCOLS), help="protocol of the packets that go to the module")
    add("--filter-port", type=ports, default=(), metavar="LIST", help="their destination ports, comma separated")
    add("--filter-dst", type=prefix, metavar="PREFIX", help="their destination (this machine)")
    add("--property", type=_property, action="append", default=[], metavar="NAME=VALUE", help="for it; repeatable")
    add("--notification", metavar="URL", help="XML-RPC server that nodes tell when it is installed or removed")
    add("--node-id", metavar="NAME", help="only this node is to install it")
    add_serving(parser)


def add_serving(parser: OneLineParser) -> None:
    """Add where nodes find the bundle, and the proof of whose traffic it is."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--url", help="where nodes find the bundle (this machine serves it)")
    place.add_argument("--serve", type=listen, metavar="[ADDRESS:]PORT", help="where to serve it (any port)")
    parser.add_argument(
        "--prove",
        type=listen,
        metavar="[ADDRESS:]PORT",
        help="serve one-time passwords there, for nodes that know no prefix of the publisher; most ask port 80",
    )


def add_remove(parser: OneLineParser) -> None:
    """Add what `remove` takes."""
    parser.add_argument("target", type=_module, metavar="MODULE", help="NAME_VERSION")
    parser.add_argument("--notification", metavar="URL", help="XML-RPC server that nodes tell")
    parser.add_argument("--node-id", metavar="NAME", help="only this node is to remove it")


def _module(text: str) -> ModuleRef:
    try:
        return ModuleRef.read(text)
    except NetservError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def ttl(text: str) -> int:
    """Seconds to live."""
    if not re.fullmatch(r"[0-9]{1,8}", text) or not 1 <= int(text) <= TTL_MAX_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 1..{TTL_MAX_S} seconds")
    return int(text)


def _wait(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not within 0..9999 seconds")
    return float(text)


def ports(text: str) -> tuple[int, ...]:
    """Port numbers, comma separated."""
    try:
        return read_ports(text)
    except NetservError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def prefix(text: str) -> Prefix:
    """An address or a network."""
    try:
        return ip_network(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no address, and no prefix as 10.1.0.0/16") from None


def _property(text: str) -> tuple[str, str]:
    if not _PROPERTY.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, without commas")
    name, _, value = text.partition("=")
    return name, value


def listen(text: str) -> Address:
    """Where to listen; a port alone means all addresses, since nodes are elsewhere."""
    try:
        host, port = http_io.listening_address(text)
    except ServerError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return ("" if text.isdigit() else host), port
