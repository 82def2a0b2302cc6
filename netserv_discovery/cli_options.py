"""The command line of `netserv-discovery`, taken apart and checked."""

import argparse
import ipaddress
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from dhtboot import cli_completion
from dhtboot.one_line_parser import OneLineParser
from mdht.errors import MdhtError
from mdht.rendezvous import parse as parse_entry_point
from mdht.signing import public_key_from
from netserv_discovery import cli_console
from netserv_discovery.errors import DiscoveryError
from netserv_discovery.index import SIZE_MAX, check_url
from netserv_discovery.location import parse_location
from netserv_discovery.record import GIST_PORT, LIFE_MAX_S
from netserv_discovery.versions import Offer, parse_need
from netserv_discovery.want import LIMIT_MAX
from z2z.errors import Z2zError
from z2z.keys import normalise
from z2z.phrases import phrase

T = TypeVar("T")

LEASE_S: Final = 60
"A node that is killed is gone after that, everywhere. Each of its keys is written again every half of it."
LEASE_MIN_S: Final = 10
LEASE_MAX_S: Final = 3_600
INDEX_LEASE_S: Final = 7 * 86_400
"Bundles do not go when their publisher's machine does."
LIMIT: Final = 5
TIMEOUT_S: Final = 15.0
"For the nodes along a path: the last one needs 7.5 s where ICMP is filtered."

_EXAMPLES: Final = """\
examples:
  netserv-discovery advertise --block ffmpeg=5.1 --location 40.71,-74.01
                                               on a node: tell the link and the DHT that it is here, until stopped
  netserv-discovery find --block ffmpeg --near 40.71,-74.01
                                               the nearest nodes that have ffmpeg, and why in this order
  netserv-discovery find --block "ffmpeg>=5,<7" --limit 1 --json
  netserv-discovery find --module NetServ.apps.MediaRelay --watch
                                               and every change, until Ctrl-C
  netserv-discovery find --link                who is on this link
  netserv-discovery find --sites office        who is shown to the sites of z2z by that key
  netserv-discovery find --toward server.example.org
                                               the nodes on the path there
  netserv-discovery console --open             all of it on a page in the browser
  netserv-discovery publish relay.zip --module NetServ.apps.MediaRelay_1.2.0 --key alice.pem --url https://example.org/1
                                               where the bundle of a module is, signed by its publisher
  netserv-discovery locate "NetServ.apps.MediaRelay>=1" --publisher PUBLIC-KEY
  netserv-discovery fetch "NetServ.apps.MediaRelay>=1" --policy policy.toml

exit status: 0 done, 1 failed or nothing found, 2 wrong usage, 130 stopped by Ctrl-C
"""
_ADVERTISE_EXAMPLES: Final = """\
examples:
  netserv-discovery advertise --block ffmpeg=5.1 --block geoip=1.0 --operator "Example Net"
  netserv-discovery advertise --facts node.toml --policy policy.toml
  netserv-discovery advertise --facts node.toml --no-dht
                                               for this link alone; see it with avahi-browse -rt _netserv._udp
  netserv-discovery advertise --facts node.toml --sites office
                                               other links show it where z2z --import --key office runs
  netserv-discovery advertise --facts node.toml --sites office --secret-file secret.txt
                                               and only where z2z has the same phrase
"""
_FIND_NOTE: Final = """
What is found was signed by the nodes themselves; those that do not answer a ping come last. The nearest come first,
then those that answer faster, then those with less load.
"""


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Return the checked arguments.

    Raises:
        SystemExit: with status 2 after a usage message, 0 after help.
    """
    return whole_parser().parse_args(argv)


def whole_parser() -> OneLineParser:
    """All that the command line may say."""
    parser = OneLineParser(
        prog="netserv-discovery",
        description="NetServ nodes and what they offer: advertised, and found on the link, in the DHT, along a path.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _advertise(_command(commands, "advertise", "announce this node until stopped", _ADVERTISE_EXAMPLES))
    _find(_command(commands, "find", "find nodes", _FIND_NOTE))
    _publish(_command(commands, "publish", "say where a module's bundle is, signed"))
    locate = _command(commands, "locate", "find out where a module's bundle is")
    _needed(locate)
    fetch = _command(commands, "fetch", "fetch a module's bundle, if the policy allows it")
    _needed(fetch)
    _fetch(fetch)
    for each in commands.choices.values():
        _dht(each)
        each.add_argument("--json", action="store_true", help="one JSON object per line")
        each.add_argument("-v", "--verbose", action="count", default=0, help="say more; twice for every detail")
    console = _command(
        commands, "console", "show nodes, subnets and services on a page in the browser", cli_console.EXAMPLES
    )
    console.set_defaults(lasting=lambda _options: True)
    cli_console.add_arguments(console)
    cli_completion.add_command(commands.add_parser, "netserv-discovery")
    return parser


def _command(
    commands: "argparse._SubParsersAction[OneLineParser]", name: str, text: str, examples: str | None = None
) -> OneLineParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=f"{text[:1].upper()}{text[1:]}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(lasting=lambda _options: False)
    return parser


def _advertise(parser: OneLineParser) -> None:
    parser.set_defaults(lasting=lambda _options: True)
    add = parser.add_argument
    add("--facts", type=Path, metavar="FILE", help="TOML: name, operator, location, blocks, modules, limits")
    add("--block", type=_offer("="), action="append", default=[], metavar="NAME=VERSION", help="repeatable")
    add("--module", type=_offer("_"), action="append", default=[], metavar="NAME_VERSION", help="repeatable")
    add(
        "--location",
        type=_checked(parse_location),
        metavar="LAT,LON",
        help="in degrees; others get to know it coarsely",
    )
    add("--operator", metavar="NAME", help="who runs the node")
    add("--node-id", metavar="NAME", help="as in signalling (that of the state directory, else made from the key)")
    add("--policy", type=Path, metavar="FILE", help="what of it is shown where, TOML (all of it, everywhere)")
    add(
        "--key",
        type=Path,
        metavar="FILE",
        help="the node's key, PEM (that of netserv signal daemon, else one of its own)",
    )
    add("--state-dir", type=Path, metavar="DIR", help="(~/.local/state/netserv-discovery)")
    add(
        "--lease",
        type=_whole(LEASE_MIN_S, LEASE_MAX_S),
        default=LEASE_S,
        metavar="S",
        help=f"gone after that if killed ({LEASE_S})",
    )
    add(
        "--address",
        type=_address,
        action="append",
        default=[],
        metavar="ADDRESS",
        help="of the node, repeatable (its own)",
    )
    add("--gist-port", type=_whole(1, 65_535), metavar="PORT", help=f"of signalling ({GIST_PORT})")
    add("--ping-port", type=_whole(1, 65_535), metavar="PORT", help="UDP port that answers pings (any)")
    add("--no-ping", action="store_true", help="answer no pings: those who search rank it behind others")
    add("--no-link", action="store_true", help="do not announce it on the link")
    add("--no-dht", action="store_true", help="do not put it into the DHT")
    add("--sites", type=_key_text, action="append", default=[], metavar="KEY",
        help="show it on the links where z2z --import --key KEY runs; repeatable")  # fmt: skip
    _secrets(parser, "with --sites: hides it from all but z2z --import with the same phrase")


def _find(parser: OneLineParser) -> None:
    parser.set_defaults(lasting=lambda options: options.watch)
    add = parser.add_argument
    add(
        "--block",
        type=_checked(parse_need),
        action="append",
        default=[],
        metavar="NAME[>=V]",
        help="nodes with this block, 'ffmpeg' or 'ffmpeg>=5,<7'; repeatable",
    )
    add(
        "--module",
        type=_checked(parse_need),
        action="append",
        default=[],
        metavar="NAME[>=V]",
        help="nodes with this module; repeatable",
    )
    add("--node-id", metavar="NAME", help="nodes of this name")
    add("--near", type=_checked(parse_location), metavar="LAT,LON", help="the nearest to this place first, in degrees")
    add("--radius", type=_kilometres, metavar="KM", help="with --near: no farther than that")
    add("--here", type=_checked(parse_location), metavar="LAT,LON",
        help="where this machine is: nodes that answer sooner than light could come last")  # fmt: skip
    add("--limit", type=_whole(1, LIMIT_MAX), default=LIMIT, metavar="N", help=f"show so many ({LIMIT})")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--link", action="store_true", help="those that announce themselves on the link")
    way.add_argument("--sites", type=_key_text, action="append", default=[], metavar="KEY",
        help="those that z2z --import --key KEY would show; repeatable")  # fmt: skip
    way.add_argument("--toward", metavar="HOST", help="those on the path to a host")
    _secrets(parser, "with --sites: the phrase that hides them; a second one is tried as well")
    add("--watch", action="store_true", help="then print every change, until Ctrl-C")
    add("--no-ping", action="store_true", help="do not ask the nodes themselves: faster, and believes them")
    add("--no-dht", action="store_true", help="with --toward: do not look the nodes up in the DHT")
    add("--user", metavar="NAME", help="with --toward: publisher in whose name it is asked")
    add("--key", type=Path, metavar="FILE", help="with --toward: that publisher's key, PEM")
    add(
        "--timeout",
        type=_seconds,
        default=TIMEOUT_S,
        metavar="S",
        help=f"with --toward: seconds to wait ({TIMEOUT_S:g})",
    )


def _publish(parser: OneLineParser) -> None:
    parser.set_defaults(lasting=lambda options: options.stay)
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="the bundle")
    add("--module", type=_offer("_"), required=True, metavar="NAME_VERSION", help="what it is")
    add(
        "--url",
        type=_checked(check_url),
        action="append",
        required=True,
        metavar="URL",
        help="where it is, http or https; repeatable",
    )
    add("--key", type=Path, required=True, metavar="FILE", help="the publisher's key, PEM; see netserv key new")
    add("--lease", type=_whole(60, LIFE_MAX_S), default=INDEX_LEASE_S, metavar="S", help="for so long (7 days)")
    add("--stay", action="store_true", help="put it again in time until stopped, then remove it")
    add("--withdraw", action="store_true", help="remove it instead")


def _needed(parser: OneLineParser) -> None:
    add = parser.add_argument
    add("module", type=_checked(parse_need), metavar="NAME[>=V]", help="'NetServ.apps.MediaRelay>=1,<2'")
    add(
        "--publisher",
        type=_public_key,
        action="append",
        default=[],
        metavar="KEY",
        help="public key of a publisher who is believed; repeatable",
    )
    add(
        "--publishers",
        type=Path,
        metavar="FILE",
        help='those who are believed, as netserv key prints them: NAME = "KEY"',
    )


def _fetch(parser: OneLineParser) -> None:
    add = parser.add_argument
    add("--policy", type=Path, metavar="FILE", help="what may be fetched, TOML: hosts, schemes, size_max")
    add("--output", type=Path, metavar="FILE", help="(NAME_VERSION.zip)")
    add("--replace", action="store_true", help="a file of that name that is there already")
    add(
        "--host",
        action="append",
        default=[],
        metavar="HOST",
        help="may be fetched from, beside those of the policy: a name, .DOMAIN, or *; repeatable",
    )
    add("--http", action="store_true", help="over http as well: what comes is verified all the same")
    add("--size-max", type=_whole(1, SIZE_MAX), metavar="BYTES", help=f"of a bundle ({SIZE_MAX})")


def _secrets(parser: OneLineParser, text: str) -> None:
    parser.add_argument("--secret", action="append", default=[], type=_checked(phrase), metavar="PHRASE", help=text)
    parser.add_argument(
        "--secret-file",
        type=Path,
        metavar="FILE",
        help="the same, a phrase a line: other users of this machine see the words of a command",
    )


def _dht(parser: OneLineParser) -> None:
    add = parser.add_argument
    add("--interface", action="append", default=[], metavar="IF", help="link to be on, repeatable (all that are up)")
    add("--bootstrap", type=_entry_point, action="append", default=[], metavar="WHERE",
        help="HOST:PORT of a node of the DHT, or a domain with SRV records; repeatable")  # fmt: skip
    add("--network", default="z2z", metavar="NAME", help="overlay to take part in (z2z)")
    add("--port", type=_whole(1, 65_535), help="UDP port of a DHT node of its own (any)")
    add(
        "--no-presence",
        action="store_true",
        help="its own DHT node neither announces itself nor seeks others on the link",
    )
    add("--link-key-file", type=Path, metavar="FILE", help="passphrase that the hosts of the DHT share")
    add("--host-keys", action="store_true", help="as mdht --host-keys")
    add("--allow-private", action="store_true", help="tell others private addresses always")
    add("--mdht-state-dir", type=Path, metavar="DIR", help="of the running mdht run (~/.local/state/mdht/net-NETWORK)")
    add("--own-node", action="store_true", help="do not use the running mdht")


def _checked(check: Callable[[str], T]) -> Callable[[str], T]:
    """Turn our errors into argparse's, which names the option."""

    def convert(text: str) -> T:
        try:
            return check(text)
        except (DiscoveryError, MdhtError, Z2zError) as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def _offer(between: str) -> Callable[[str], Offer]:
    def convert(text: str) -> Offer:
        name, _, version = text.rpartition(between)
        if not name:
            raise argparse.ArgumentTypeError(f"{text!r} is not NAME{between}VERSION, as ffmpeg{between}5.1")
        return Offer(name, version)

    return _checked(convert)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not within {low}..{high}")
        return int(text)

    return convert


def _kilometres(text: str) -> float:
    try:
        kilometres = float(text)
    except ValueError:
        kilometres = 0.0
    if not 0.0 < kilometres <= 20_100.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 0..20100 km, half around the globe")
    return kilometres


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds <= 600.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 0..600 seconds")
    return seconds


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address") from None


def _entry_point(text: str) -> str:
    _checked(parse_entry_point)(text)
    return text


def _key_text(text: str) -> str:
    _checked(normalise)(text)
    return text


def _public_key(text: str) -> bytes:
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text)
    key = public_key_from(text)
    if key is None:
        raise argparse.ArgumentTypeError(f"{text!r}: a public key is 64 hexadecimal digits, or base64 of 32 bytes")
    return key
