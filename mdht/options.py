"""The command line of `mdht`, taken apart and checked."""

import argparse
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from dhtboot import cli_completion
from dhtboot.ids import Address
from dhtboot.one_line_parser import OneLineParser
from mdht import cli_experiment, cli_isolation, cli_members, http_io, metrics_http
from mdht.config import MdhtConfig
from mdht.errors import LocalProtocolError
from mdht.keeping.config import KeepingConfig
from mdht.link_keys import read_keys
from mdht.records import LEASE_MAX_S, LEASE_MIN_S, NAME_MAX
from mdht.rendezvous import DEFAULT_PORT, parse
from mdht.subnet.hostset import reaches
from mdht.subnet.identity import named
from mdht.subnet.inventory_config import InventoryConfig
from mdht.subnet.policies import policy_from

REPLICAS_MAX: Final = 16
"Of nodes that hold a record: with Chord no more are known to a lookup."
CACHE_MAX_S: Final = 3600
"As long a copy may be out of date; the lease of a record by default."
EPHEMERAL_PORT: Final = 0
"A command that lives for a second leaves the well-known port to the node that stays."

_EXAMPLES: Final = """\
examples:
  mdht run                                     take part; hosts of the link's subnet are found by themselves
  mdht run --bootstrap peer.example.org:27183  join nodes elsewhere
  mdht run --peer 192.0.2.7                    on a link whose multicast is filtered: one host of it is enough
  mdht run --map-port                          behind a router at home: have it forward a port while this runs
  mdht run --bootstrap example.org             join by the SRV records _mdht._udp.example.org
  mdht run --key-file key --host-keys          strangers are kept out, and no member speaks in the name of another
  mdht put office "meeting at ten"             write under a key, for an hour
  date | mdht put office - --ttl 60            write what comes on stdin, for a minute
  mdht get office --json                       read all that lives under a key
  mdht listen office                           follow it until Ctrl-C
  mdht remove office                           take your own value back
  mdht isolation hosts.txt                     how many of them would be alone in their subnet
  mdht experiment 7 --short                    how many records a subnet loses while hosts crash
  mdht members                                 who is in the subnet of this link

KEY is any text (hashed as SHA-1 of "mdht." and the text), or 0x and 40 hexadecimal digits.
put, get, remove and listen go through the running node of the state directory; without one they join for a moment.
exit status: 0 done, 1 failed or nothing found, 2 wrong usage, 130 stopped by Ctrl-C
"""
_COMMANDS: Final[Mapping[str, str]] = {
    "run": "run a node until stopped",
    "put": "write a value under a key",
    "get": "print the values under a key",
    "remove": "remove your own value from a key",
    "listen": "print the values under a key and each change",
    "explain": "show how a key is reached and who holds what",
    "status": "show the running node's state",
}


_WITH_FILES_OF_THEIR_OWN: Final = {
    "isolation": (
        cli_isolation,
        "how many hosts of a list would be alone in their subnet, by the length of its prefix",
    ),
    "experiment": (cli_experiment, "whether what is claimed of one node per subnet holds, in numbers"),
    "members": (cli_members, "who is in the subnet of this link"),
}


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Return the checked arguments.

    Raises:
        SystemExit: with status 2 after a usage message, 0 after help.
    """
    return whole_parser().parse_args(argv)


def whole_parser() -> OneLineParser:
    """All that the command line may say."""
    parser = OneLineParser(
        prog="mdht",
        description="A store of signed records that peers keep among themselves, without a server.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = _common_options()
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command, text in _COMMANDS.items():
        sub = commands.add_parser(command, help=text, description=text.capitalize() + ".", parents=[common])
        if command not in ("run", "status"):
            sub.add_argument("key", metavar="KEY", type=key_of, help="text, or 0x and 40 hexadecimal digits")
        if command == "put":
            sub.add_argument("value", metavar="VALUE", help="text, or - to read standard input; at most 16 KiB")
            sub.add_argument("--ttl", type=_ttl, default=3600.0, metavar="S", help="lifetime in seconds (3600)")
        if command == "get":
            sub.add_argument("--fresh", action="store_true", help="ask the nodes that hold it, whatever is cached here")
        if command == "run":
            sub.add_argument("--metrics", type=_metrics, metavar="[ADDRESS:]PORT", help=metrics_http.HELP)
            sub.add_argument(
                "--map-port",
                action="store_true",
                help="ask the router to forward the port to this host while it runs, by PCP, NAT-PMP or UPnP",
            )
        if command == "status":
            sub.add_argument("--prometheus", action="store_true", help="as Prometheus reads it")
        if command in ("put", "remove"):
            sub.add_argument(
                "--name", type=_name, default=b"", help="tells apart several values of yours under one key"
            )
    for name, (module, text) in _WITH_FILES_OF_THEIR_OWN.items():
        module.add_arguments(
            commands.add_parser(
                name,
                help=text,
                description=text.capitalize() + ".",
                epilog=module.EXAMPLES,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    cli_completion.add_command(commands.add_parser, "mdht")
    return parser


def key_of(text: str) -> bytes:
    """Return the 20-byte key of a KEY argument."""
    if not text:
        raise argparse.ArgumentTypeError("a key is not empty")
    if text.startswith("0x"):
        if not re.fullmatch(r"0x[0-9a-fA-F]{40}", text):
            raise argparse.ArgumentTypeError(f"{text!r}: 40 hexadecimal digits follow 0x")
        return bytes.fromhex(text[2:])
    return hashlib.sha1(b"mdht." + _encoded(text), usedforsecurity=False).digest()


def config_of(options: argparse.Namespace, *, lasting: bool) -> MdhtConfig:
    """Return the settings of the node that a command runs itself.

    Args:
        options: the checked arguments.
        lasting: whether it is `mdht run`'s, which keeps its state and the well-known port.
    """
    port = options.port
    if port is None:
        port = MdhtConfig().port if lasting else EPHEMERAL_PORT
    return MdhtConfig(
        network=options.network,
        port=port,
        port_required=options.port is not None,
        bootstrap=tuple(options.bootstrap),
        interfaces=tuple(options.interface),
        peers=tuple(options.peer),
        server=options.server,
        presence=not options.no_presence,
        subnet=options.subnet,
        merge=options.merge,
        allow_private=options.allow_private,
        public=options.public,
        map_port=lasting and options.map_port,
        keys=() if options.key_file is None else read_keys(options.key_file, options.network),
        host_keys=options.host_keys,
        state_dir=options.state_dir if lasting else None,
        overlay=options.overlay,
        keeping=_keeping(options),
    )


def _common_options() -> OneLineParser:
    common = OneLineParser(add_help=False)
    common.add_argument("--json", action="store_true", help="one JSON object per line")
    common.add_argument(
        "--bootstrap",
        action="append",
        default=[],
        type=_entry_point,
        metavar="WHERE",
        help="HOST:PORT, [v6]:PORT, or a domain with SRV records _mdht._udp; repeatable",
    )
    common.add_argument(
        "--peer",
        action="append",
        default=[],
        type=_peer,
        metavar="ADDRESS[:PORT]",
        help="host of this link, which is greeted by unicast where multicast may not find it; repeatable",
    )
    common.add_argument("--server", metavar="HOST:PORT", help="bootstrap server of the overlay: see dhtboot serve")
    common.add_argument(
        "--interface",
        action="append",
        default=[],
        metavar="IF",
        help="link whose subnet to be in (the default route's); repeatable, for a host of several links",
    )
    common.add_argument(
        "--no-presence", action="store_true", help="be a subnet of its own: neither announce nor seek hosts on the link"
    )
    common.add_argument(
        "--subnet",
        metavar="NAME",
        type=_subnet,
        help="name of the link's subnet, if it is founded here (known by its public or local prefix, else random)",
    )
    common.add_argument(
        "--merge",
        choices=("auto", "never"),
        default="auto",
        help="two subnets that meet late on one link become one, or stay two (auto)",
    )
    common.add_argument("--key-file", type=Path, metavar="FILE", help="passphrase that the hosts of the overlay share")
    common.add_argument(
        "--host-keys",
        action="store_true",
        help="sign heartbeats, goodbyes and accusations with a key of this host's own, and believe only signed ones, "
        "so that no host of the link speaks for another; give it to all of them, or to none",
    )
    common.add_argument(
        "--overlay", choices=("kademlia", "chord"), default="kademlia", help="protocol between subnets (kademlia)"
    )
    common.add_argument(
        "--replicas", type=_replicas, default=KeepingConfig().replicas, metavar="N", help="nodes that hold a record (8)"
    )
    common.add_argument(
        "--cache",
        type=_cache,
        default=InventoryConfig().keep_s,
        metavar="SECONDS|off",
        help="how long to cache records of other nodes; the same for all hosts of a link (60)",
    )
    common.add_argument(
        "--policy",
        type=_policy,
        default=KeepingConfig().policy,
        metavar="NAME",
        help="copies that the hosts of a subnet make of each record, if this host founds it: single, full, fixed:N, "
        "fixed:N:receiver or adaptive:N:RATE (fixed:3)",
    )
    common.add_argument("--allow-private", action="store_true", help="tell other subnets private addresses always")
    common.add_argument(
        "--public",
        type=_public,
        metavar="ADDRESS:PORT",
        help="where hosts of other subnets reach this one: a UDP port that a router forwards to it",
    )
    common.add_argument("--port", type=_port, help="UDP port; must be free (27183, or another when it is taken)")
    common.add_argument("--network", default="z2z", type=_network, help="overlay to take part in (z2z)")
    common.add_argument("--state-dir", type=Path, metavar="DIR", help="(~/.local/state/mdht/net-NETWORK)")
    common.add_argument("-v", "--verbose", action="count", default=0, help="say more; twice for every detail")
    return common


def _metrics(text: str) -> Address:
    try:
        return http_io.listening_address(text)
    except LocalProtocolError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogateescape")  # arguments that are no UTF-8 keep their bytes


def _name(text: str) -> bytes:
    name = _encoded(text)
    if len(name) > NAME_MAX:
        raise argparse.ArgumentTypeError(f"a name has at most {NAME_MAX} bytes, not {len(name)}")
    return name


def _network(text: str) -> str:
    if not 1 <= len(text) <= 64 or not text.isprintable():
        raise argparse.ArgumentTypeError("a network's name has 1 to 64 printable characters")
    return text


def _ttl(text: str) -> float:
    try:
        ttl_s = float(text)
    except ValueError:
        ttl_s = 0.0
    if not LEASE_MIN_S <= ttl_s <= LEASE_MAX_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not within {LEASE_MIN_S}..{LEASE_MAX_S} seconds (7 days)")
    return ttl_s


def _subnet(text: str) -> str:
    try:
        named(text)
    except LocalProtocolError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _replicas(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,2}", text) or not 1 <= int(text) <= REPLICAS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 1..{REPLICAS_MAX}")
    return int(text)


def _cache(text: str) -> float:
    """Seconds; 0 for off."""
    if text == "off":
        return 0.0
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= CACHE_MAX_S:
        raise argparse.ArgumentTypeError(f"{text!r} is neither off nor within 1..{CACHE_MAX_S} seconds")
    return float(text)


def _policy(text: str) -> str:
    try:
        return str(policy_from(text))
    except LocalProtocolError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _keeping(options: argparse.Namespace) -> KeepingConfig:
    config, replicas = KeepingConfig(), options.replicas
    return msgspec.structs.replace(
        config,
        replicas=replicas,
        acks=min(config.acks, replicas),
        read_quorum=min(config.read_quorum, replicas),
        cache=InventoryConfig(keep_s=options.cache) if options.cache else None,
        policy=options.policy,
    )


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 1..65535")
    return int(text)


def _public(text: str) -> Address:
    try:
        entry = parse(text)
    except LocalProtocolError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not entry.numeric or not reaches((entry.host, entry.port or 0), allow_private=True):
        raise argparse.ArgumentTypeError(f"{text!r} is no numeric address of a host with a port")
    return entry.host, entry.port or 0


def _entry_point(text: str) -> str:
    try:
        parse(text)
    except LocalProtocolError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _peer(text: str) -> Address:
    _entry_point(text)
    entry = parse(text)
    if not entry.numeric:
        raise argparse.ArgumentTypeError(f"{text!r}: a host of the link is named by its address")
    return entry.host, entry.port or DEFAULT_PORT
