"""The command line of `z2z`, taken apart and checked; nothing is opened here."""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from dhtboot import cli_completion
from dhtboot.cli_options import whole
from dhtboot.ids import Address
from dhtboot.one_line_parser import OneLineParser
from mdht import http_io, metrics_http
from z2z import config_file
from z2z.address_map import AddressMap, Mapping, address_map, parse_mapping
from z2z.cli_identity_options import IdentityOptions, identity_options, identity_parser
from z2z.cli_look_options import (
    BrowseOptions,
    StatusOptions,
    browse_options,
    browse_parser,
    status_options,
    status_parser,
)
from z2z.cli_units_options import UnitsOptions, units_options, units_parser
from z2z.cli_values import (
    add_common,
    checked,
    default_site_name,
    entry_point,
    key_text,
    service_type,
    site_name,
    within,
)
from z2z.errors import Z2zError
from z2z.importer import IMPORTS_MAX, SLOTS_MAX
from z2z.keys import normalise
from z2z.mdns.outbox import PACKETS_PER_MINUTE
from z2z.phrases import masters, phrase
from z2z.policy import sensitive_reason
from z2z.policy_file import PolicyFile
from z2z.seal import LEASE_MAX_S
from z2z.stores.registry import DEFAULT_STORE, store_kind, store_names
from z2z.trust import Policy

T = TypeVar("T")

_POLICIES: Final = {policy.value: policy for policy in (Policy.FIRST_USE, Policy.ANYBODY)}

DESCRIPTION: Final = "Shows DNS-SD services of one link on another, through a store that needs no server."
EXAMPLES: Final = """\
examples:
  z2z --export _daap._tcp --key office         put the music shares of this link into the overlay, as "office"
  z2z --import --key office                    show on this link what others exported as "office"
  z2z --import --key "Joe's Music"             every service is also found by its own name
  z2z --export:stream _ipp._tcp | ssh far z2z --import:stream
                                               a complete bridge over one ssh connection
  z2z --export:stream _ipp._tcp > services.txt keep them in a file; z2z --import:stream < services.txt shows them
  z2z --import --key office --bootstrap peer.example.org:27183
                                               join the overlay elsewhere when no peer is on this link
  z2z --export _ipp._tcp --key office --secret-file secret.txt
                                               only sites that know the phrase in secret.txt can find it and read it
  z2z --export _ipp._tcp --key office --map 192.168.1.5:631=203.0.113.7:8631
                                               the router passes its port 8631 on to this printer
  z2z --export _ipp._tcp --policy rules.toml --dry-run
                                               what the rules would let out and what not, and which rule says so
  z2z --export _ipp._tcp --dry-run             who would see what, without telling anybody
  z2z browse                                   what this link shows; z2z browse _ipp._tcp for one type
  z2z identity show                            who this site is, and whom it knows by their keys
  z2z status                                   what the running z2z export, import and refuse, and why

Keys compare by their letters and digits only: "Joe's Music" is "joesmusic".
Stores: mdht (default, the overlay), stream (JSON lines on stdout or stdin), memory (this process, for trying out),
kademlia (a network of nodes of that Python package; --bootstrap HOST:8468 names one of them).
A pipe that ends ends the import: all is withdrawn, exit status 0. What a file says stays until z2z is ended.
--once ends after the first puts and leaves them to live for --ttl; on import it prints what is found.
SIGHUP has --policy read again; without one, and when the terminal is closed, it ends z2z as SIGTERM does.
Ctrl-C and SIGTERM take everything back first, for at most 5 s; a second Ctrl-C ends at once.
exit status: 0 done, or ended by SIGTERM; 1 failed; 2 wrong usage; 130 ended by Ctrl-C
"""
TTL_MIN_S: Final = 10
MULTICAST_MIN: Final = 60
"Packets a minute: with fewer, goodbyes and defence of names would take all."
MULTICAST_LIMIT: Final = 60_000
"More than a wired link's listeners can take: 1,000 packets a second."
REFRESH_MIN_S: Final = 1.0
POLL_MIN_S: Final = 0.2
"Faster polling would only load the store; stores that push do not need it."


class BridgeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`z2z --export ... --import ...`."""

    exports: tuple[tuple[str, str], ...]
    imports: tuple[str, ...]
    keys: tuple[str, ...]
    ttl_s: int
    refresh_s: float
    poll_s: float
    stale_s: float
    imports_max: int
    multicast_max: int
    interface: str | None
    local_only: bool
    bootstrap: tuple[str, ...]
    map_port: bool
    link_key_file: Path | None
    host_keys: bool
    proxy: str
    site_name: str
    identity: Path
    allow_private: bool
    force_type: bool
    export_map: AddressMap
    import_map: AddressMap
    policy: Path | None
    secrets: tuple[bytes, ...]
    "Made from phrases, the present one first."
    trust: Policy
    trusted_sites: Path | None
    "The user's own list."
    once: bool
    dry_run: bool
    metrics: Address | None
    state_dir: Path
    json: bool
    verbosity: int
    "-1 quiet, 0 normal, 1 details, 2 everything."


class CompletionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`z2z completion SHELL`."""

    script: str
    json: bool = False
    verbosity: int = 0


Options = BridgeOptions | BrowseOptions | StatusOptions | IdentityOptions | UnitsOptions | CompletionOptions


class _StoreAction(argparse.Action):
    """`--export[:STORE] TYPE` and `--import[:STORE]`: the store is part of the option's name."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse's signature
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        store = (option_string or "").partition(":")[2] or DEFAULT_STORE
        entry = (store, values) if self.dest == "exports" else store
        setattr(namespace, self.dest, (*getattr(namespace, self.dest), entry))


def parse_arguments(argv: Sequence[str]) -> Options:
    """Return the checked options.

    Raises:
        SystemExit: with status 2 after one line that says what is wrong, 0 after `--help`.
    """
    if argv[:1] == ["browse"]:
        return browse_options(argv[1:])
    if argv[:1] == ["status"]:
        return status_options(argv[1:])
    if argv[:1] == ["identity"]:
        return identity_options(argv[1:])
    if argv[:1] == ["install-units"]:
        return units_options(argv[1:])
    if argv[:1] == ["completion"]:
        shell = whole_parser().parse_args(argv).shell
        return CompletionOptions(script=cli_completion.script(whole_parser(), shell))
    parser = _bridge_parser()
    typed = {word.partition("=")[0] for word in argv}
    argv = [*_from_file(parser, argv), *argv]
    for argument in argv:
        role, colon, store = argument.partition("=")[0].partition(":")
        if role in {"--export", "--import"} and colon and store not in store_names():
            parser.error(f"unknown store {store!r} in {argument}: installed are {', '.join(store_names())}")
    args = parser.parse_args(argv)
    _check_together(parser, args)
    # In a file they may stand for other times.
    if "--map" in typed and not args.exports:
        parser.error("--map is for what is exported; addresses of imports are translated by --map-import")
    if "--map-import" in typed and not args.imports:
        parser.error("--map-import is for what is imported; addresses of exports are translated by --map")
    return BridgeOptions(
        exports=tuple(dict.fromkeys(args.exports)),
        imports=tuple(dict.fromkeys(args.imports)),
        keys=_distinct(args.key),
        ttl_s=args.ttl,
        refresh_s=args.refresh,
        poll_s=args.poll,
        stale_s=args.stale,
        imports_max=args.imports_max,
        multicast_max=args.multicast_max,
        interface=args.interface,
        local_only=args.local_only,
        bootstrap=tuple(args.bootstrap),
        map_port=args.map_port,
        link_key_file=args.link_key_file,
        host_keys=args.host_keys,
        proxy=args.proxy,
        site_name=args.site or default_site_name(),
        identity=args.identity or args.state_dir / "identity.pem",
        allow_private=args.allow_private,
        force_type=args.force_type,
        export_map=_address_map(parser, "--map", args.map),
        policy=args.policy,
        import_map=_address_map(parser, "--map-import", args.map_import),
        secrets=_secrets(parser, args),
        trust=_POLICIES.get(args.trust, Policy.LISTED),
        trusted_sites=None if args.trust in _POLICIES else Path(args.trust),
        once=args.once,
        dry_run=args.dry_run,
        metrics=args.metrics,
        state_dir=args.state_dir,
        json=args.json,
        verbosity=-1 if args.quiet else args.verbose,
    )


def _from_file(parser: argparse.ArgumentParser, argv: Sequence[str]) -> list[str]:
    """What a configuration file says; nothing where only help is wanted."""
    found = config_file.path_of(argv)
    if found is None or {"-h", "--help"} & set(argv):
        return []
    try:
        return config_file.arguments(found[0], argv, required=found[1])
    except Z2zError as error:
        parser.error(str(error))


def _check_together(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse options that are sound one by one but not together."""
    if not args.exports and not args.imports:
        parser.error("nothing to do: give --export TYPE, --import, or a command: browse, status, identity")
    try:
        keys_needed = not all(store_kind(store).keyless for store in args.imports)
    except Z2zError as error:
        parser.error(str(error))
    if keys_needed and not args.key:
        parser.error("--import needs a --key to look for, as in --import --key office")
    if args.refresh * 2 > args.ttl:
        parser.error(
            f"--refresh {args.refresh:g} must be at most half of --ttl {args.ttl}, or one lost put ends a service"
        )
    try:
        PolicyFile(args.policy, _POLICIES.get(args.trust, Policy.LISTED)).read()
    except Z2zError as error:
        parser.error(f"argument --policy: {error}")
    if not args.force_type:
        for reason in filter(None, (sensitive_reason(service_type) for _, service_type in args.exports)):
            parser.error(reason)


def _secrets(parser: argparse.ArgumentParser, args: argparse.Namespace) -> tuple[bytes, ...]:
    """The secrets of the command line, or those in a file."""
    try:
        return masters(args.secret, args.secret_file)
    except Z2zError as error:
        parser.error(str(error))


def _address_map(parser: argparse.ArgumentParser, option: str, mappings: Sequence[Mapping]) -> AddressMap:
    try:
        return address_map(mappings)
    except Z2zError as error:
        parser.error(f"argument {option}: {error}")


def _distinct(keys: Sequence[str]) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for key in keys:
        found.setdefault(normalise(key), key)
    return tuple(found.values())


def _bridge_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="z2z",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="z2z [--export[:STORE] TYPE]... [--import[:STORE]]... [--key KEY]... [options]\n"
        "       z2z browse | status | identity | install-units | completion",
    )
    parser.set_defaults(exports=(), imports=())
    add = parser.add_argument
    add("--export", dest="exports", metavar="TYPE", action=_StoreAction, type=service_type,
        help="export services of this type, as _daap._tcp; --export:STORE for another store; repeatable")  # fmt: skip
    add("--import", dest="imports", nargs=0, action=_StoreAction,
        help="import what was exported under the keys; --import:STORE for another store")  # fmt: skip
    for store in store_names():
        add(f"--export:{store}", dest="exports", action=_StoreAction, type=service_type, help=argparse.SUPPRESS)
        add(f"--import:{store}", dest="imports", nargs=0, action=_StoreAction, help=argparse.SUPPRESS)
    add(
        "--key",
        action="append",
        default=[],
        type=checked(key_text),
        help="a word to export as or to look for; repeatable",
    )
    add("--ttl", type=within(int, TTL_MIN_S, LEASE_MAX_S), default=300, metavar="S", help="lease of an export (300)")
    add("--refresh", type=within(float, REFRESH_MIN_S, LEASE_MAX_S), default=60.0, metavar="S",
        help="seconds between two puts of a living service (60)")  # fmt: skip
    add("--poll", type=within(float, POLL_MIN_S, 86_400), default=10.0, metavar="S",
        help="seconds between two looks into a store (10)")  # fmt: skip
    add("--stale", type=within(float, 1, LEASE_MAX_S), default=300.0, metavar="S",
        help="withdraw what the store has not shown for so long (300)")  # fmt: skip
    add("--imports-max", type=whole(1, SLOTS_MAX), default=IMPORTS_MAX, metavar="N",
        help="services shown on the link at most (800, as Avahi's default cache loses some beyond 819)")  # fmt: skip
    add("--multicast-max", type=whole(MULTICAST_MIN, MULTICAST_LIMIT), default=PACKETS_PER_MINUTE, metavar="N",
        help="packets a minute that imports may cost the link, each over IPv4 and IPv6 (1200)")  # fmt: skip
    add("--config", type=Path, metavar="FILE",
        help="options for what is not said here (~/.config/z2z.toml, else /etc/z2z/z2z.toml)")  # fmt: skip
    add("--no-config", action="store_true", help="read no such file")
    add("--local-only", action="store_true", help="show imports to programs of this machine only")
    add("--bootstrap", action="append", default=[], type=checked(entry_point), metavar="HOST:PORT|DOMAIN",
        help="an entry point into the overlay; repeatable; peers on the link are found without")  # fmt: skip
    add("--map-port", action="store_true",
        help="ask the router to forward a port to this host meanwhile, so that others reach its node")  # fmt: skip
    add("--link-key-file", type=Path, metavar="FILE",
        help="the passphrase of the overlay, where its hosts have one (mdht run --key-file)")  # fmt: skip
    add("--host-keys", action="store_true",
        help="hosts of the link sign what they say of themselves (mdht run --host-keys)")  # fmt: skip
    add("--proxy", default="", metavar="URL",
        help="the proxy of an OpenDHT node, for --export:opendht (http://127.0.0.1:8080)")  # fmt: skip
    add("--site", type=checked(site_name), metavar="NAME", help="what others call this place (the host's name)")
    add("--identity", type=Path, metavar="FILE", help="the site's key; created when there is none")
    add("--secret", action="append", default=[], type=checked(phrase), metavar="PHRASE",
        help="what only sites that know it can find and read; a second one is for imports only")  # fmt: skip
    add("--secret-file", type=Path, metavar="FILE",
        help="the same, a phrase a line: other users of this machine see the words of a command")  # fmt: skip
    add("--trust", default=Policy.FIRST_USE.value, metavar="first-use|anybody|FILE",
        help="whom to believe: the first key seen under a site's name, everybody, or the keys in a file")  # fmt: skip
    add("--allow-private", action="store_true", help="export private addresses too")
    add("--policy", type=Path, metavar="FILE",
        help="rules of what may be exported and imported; SIGHUP has them read again")  # fmt: skip
    add("--map", action="append", default=[], type=checked(parse_mapping), metavar="PRIVATE=PUBLIC",
        help="export the first as the second, which a router passes on: address, ADDRESS:PORT or network")  # fmt: skip
    add("--map-import", action="append", default=[], type=checked(parse_mapping), metavar="THEIRS=HERE",
        help="show imports from the first at the second, where this link reaches them")  # fmt: skip
    add("--force-type", action="store_true", help="export types for remote control and login too")
    add("--metrics", type=checked(http_io.listening_address), metavar="[ADDRESS:]PORT", help=metrics_http.HELP)
    add_common(parser, interface=True, state_dir=True)
    _manner(parser)
    return parser


def _manner(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="put or look once, then end")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be exported and imported, and change nothing"
    )
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; twice: everything")
    parser.add_argument("-q", "--quiet", action="store_true", help="say only what goes wrong")


def whole_parser() -> argparse.ArgumentParser:
    """All that the command line may say, for completion and manual."""
    parser = _bridge_parser()
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    browse_parser(partial(commands.add_parser, "browse", help="list the services that this link shows"))
    status_parser(partial(commands.add_parser, "status", help="show what running z2z do"))
    identity_parser(partial(commands.add_parser, "identity", help="the keys of this site, and of others"))
    units_parser(partial(commands.add_parser, "install-units", help="write the units by which systemd runs z2z"))
    cli_completion.add_command(commands.add_parser, "z2z")
    return parser
