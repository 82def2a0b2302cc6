"""The command line of `netserv`, taken apart and checked."""

import argparse
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from dhtboot import cli_completion
from dhtboot.ids import Address
from dhtboot.one_line_parser import OneLineParser
from mdht import http_io, metrics_http
from mdht.errors import LocalProtocolError as MetricsError
from netserv import cli_app_options, cli_bench_options, cli_deploy_options, cli_dump_options, cli_module_options
from netserv.signaling.control import DEFAULT_NAME
from netserv.signaling.control_messages import TIMEOUT_MAX_S
from netserv.signaling.gist.addresses import GIST_PORT, PackedAddress, packed
from netserv.signaling.gist.objects.mri import RADIUS_MAX, Area
from netserv.signaling.node_state import NODE_ID
from netserv.signaling.nslp.values import Around

TIMEOUT_S: Final = 30.0
"For an answer: the last node of a path needs 7.5 s where ICMP is filtered, and each loss up to 4 s."
VALIDITY_MAX_S: Final = 3_600.0
"A node that has gone is missed after an hour at the latest."

_EXAMPLES: Final = """\
examples:
  netserv signal daemon --publishers publishers.toml   on each router: catch, answer and pass on what is signalled
  netserv signal status                                how this router's daemon stands
  netserv key new alice.pem --user alice               a publisher's key, and the line that routers need of it
  netserv probe --toward server.example.org            which nodes are on the path there
  netserv probe --toward 10.3.0.2 --what status,load --key alice.pem --user alice
  netserv send request.txt --toward 10.3.0.2 --key alice.pem --user alice
  netserv module new com.example.Hello                 a module to begin with; then build it, and sign it
  netserv gist-dump path.pcap                          what was signalled, from a capture of tcpdump

exit status: 0 done, 1 failed or nobody answered, 2 wrong usage, 130 stopped by Ctrl-C
"""
_DAEMON_EXAMPLES: Final = """\
examples:
  netserv signal daemon                                packets are caught in the way this kernel offers
  netserv signal daemon --interceptor none             an end host, which nothing passes: no rules, but port 270
  netserv signal daemon --interface eth0 --interface eth1
  netserv signal daemon --tls --tls-ca peers.pem       encrypted associations with peers whose certificates are known

SIGHUP has it read its publishers and authorised peers again. Ctrl-C and SIGTERM end it, and remove its rules.
"""
_RUN_EXAMPLES: Final = """\
examples:
  netserv config example > netserv.toml                then put your publishers in
  netserv config check netserv.toml
  netserv run netserv.toml                             as root: it catches packets, and confines what publishers send

SIGHUP has it read its publishers and their rules again. Ctrl-C and SIGTERM end it, and leave no process, rule or mount;
what is installed comes back at the next start as long as its time to live lasts.
"""
_ASK_NOTE: Final = """
It goes through the daemon of this network namespace where one runs, else by a node for this one request, on any free
port and without privileges.
"""
_AREAS: Final = {
    Area.BUBBLE: "of this machine",
    Area.BALLOON: "of the host",
    Area.HOSE: "of the path, and those on it",
}
_PROBE_EXAMPLES: Final = f"""\
examples:
  netserv probe --toward 10.3.0.2                      names of the nodes, nearest first
  netserv probe --toward 10.3.0.2 --what status,blocks --key alice.pem --user alice
  netserv probe NetServ.apps.NetMonitor_1.0.0 --toward 10.3.0.2 --json
  netserv probe --bubble 3 --toward 10.3.0.2           the nodes within 3 hops of here, beginning on the way there
{_ASK_NOTE}"""
_SEND_EXAMPLES: Final = f"""\
examples:
  netserv send setup.txt --toward 10.3.0.2 --key alice.pem --user alice
  netserv send signed.txt --toward 10.3.0.2 --as-is    nothing is added, nor signed
  generate | netserv send - --toward 10.3.0.2
{_ASK_NOTE}"""
_KEY_EXAMPLES: Final = """\
examples:
  netserv key new alice.pem --user alice               then append what it prints to the routers' publishers file
  netserv key show alice.pem --user alice >> publishers.toml
"""
_CONFIG_EXAMPLES: Final = """\
examples:
  netserv config example > netserv.toml                then take out what you do not need
  netserv config check netserv.toml
  netserv config import-xml netserv.xml > netserv.toml
  netserv config unit > /etc/systemd/system/netserv.service
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
        prog="netserv",
        description="Signalling along the path of a flow, to the routers that it passes (GIST and the NetServ NSLP).",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    signal = _command(commands, "signal", "the signalling daemon of a router or host")
    _signal(signal.add_subparsers(dest="action", required=True, metavar="ACTION"))
    node = _command(commands, "run", "be a node: modules of publishers run here, until stopped", _RUN_EXAMPLES)
    node.add_argument("file", type=Path, metavar="FILE", help="settings, TOML; see netserv config example")
    node.add_argument("--state-dir", type=Path, metavar="DIR", help="instead of the file's")
    _common(node)
    _status(_command(commands, "status", "show how this machine's node or daemon stands"))
    probe = _command(commands, "probe", "ask the nodes on the path to a host how they stand", _PROBE_EXAMPLES)
    probe.add_argument(
        "target", metavar="MODULE", nargs="?", help="NAME_VERSION of the module to ask about; the nodes themselves"
    )
    probe.add_argument(
        "--what",
        type=_items,
        default=("status",),
        metavar="LIST",
        help="comma separated: status, address, capabilities, policy, modules, blocks, load (status)",
    )
    probe.add_argument("--node-id", metavar="NAME", type=_node_id, help="only this node is to answer in full")
    place = probe.add_mutually_exclusive_group()
    for area, text in _AREAS.items():
        place.add_argument(
            f"--{area.name.lower()}",
            dest="around",
            type=partial(_around, area),
            metavar="HOPS",
            help=f"ask the nodes within so many IP hops {text}, not those on the path",
        )
    _asking(probe)
    send = _command(commands, "send", "send a request along the path to a host", _SEND_EXAMPLES)
    send.add_argument("file", metavar="FILE", help="text of the request, or - for standard input")
    send.add_argument("--as-is", action="store_true", help="add neither nonce, expiry and flow nor a signature")
    _asking(send)
    deploy = _command(
        commands, "deploy", "have the nodes on the path to a host run a module", cli_deploy_options.DEPLOY_EXAMPLES
    )
    cli_deploy_options.add_deploy(deploy)
    _asking(deploy, toward=False)
    remove = _command(
        commands, "remove", "take a module away from the nodes on a path", cli_deploy_options.REMOVE_EXAMPLES
    )
    cli_deploy_options.add_remove(remove)
    _asking(remove)
    app = _command(commands, "app", "applications that come with NetServ, at their publisher's side")
    cli_app_options.add_apps(partial(_command, app.add_subparsers(dest="app", required=True, metavar="APP")), _asking)
    key = _command(commands, "key", "keys of publishers, who sign requests")
    _key(key.add_subparsers(dest="action", required=True, metavar="ACTION"))
    module = _command(commands, "module", "write, pack, sign and check modules for nodes")
    actions = module.add_subparsers(dest="action", required=True, metavar="ACTION")
    cli_module_options.add_actions(partial(_command, actions))
    config = _command(commands, "config", "settings of a node, before it reads them")
    _config(config.add_subparsers(dest="action", required=True, metavar="ACTION"))
    cli_bench_options.add_arguments(
        _command(commands, "bench", "measure how fast this machine is as a node (as root)", cli_bench_options.EXAMPLES)
    )
    dump = _command(commands, "gist-dump", "print captured signalling in words", cli_dump_options.EXAMPLES)
    cli_dump_options.add_arguments(dump)
    cli_completion.add_command(commands.add_parser, "netserv")
    return parser


def _command(
    commands: "argparse._SubParsersAction[OneLineParser]", name: str, text: str, examples: str | None = None
) -> OneLineParser:
    return commands.add_parser(
        name,
        help=text,
        description=f"{text[:1].upper()}{text[1:]}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _signal(actions: "argparse._SubParsersAction[OneLineParser]") -> None:
    daemon = _command(
        actions,
        "daemon",
        "catch what is signalled along paths through this machine, answer it and pass it on, until stopped",
        _DAEMON_EXAMPLES,
    )
    add = daemon.add_argument
    add("--interceptor", choices=("auto", "tproxy", "nfqueue", "none"), default="auto", help="how to catch (auto)")
    add("--interface", action="append", default=[], metavar="IF", help="catch only what comes by it; repeatable (all)")
    add(
        "--neighbour",
        type=_address,
        action="append",
        default=[],
        metavar="ADDRESS",
        help="a node to tell what is for the nodes around a place; repeatable (those that signalling has met)",
    )
    add("--profile", choices=("netserv", "rfc"), default="netserv", help="timing: 7.5 s until nobody is there, or 63.5")
    add("--validity", type=_validity, default=30.0, metavar="S", help="seconds that state lives without a refresh (30)")
    add("--port", type=_port, default=GIST_PORT, help=f"UDP and TCP port ({GIST_PORT}, which others' packets go to)")
    add("--tls", action="store_true", help="offer associations by TLS too")
    add("--tls-only", action="store_true", help="no plain TCP, and no next node without TLS; implies --tls")
    add("--tls-port", type=_port, metavar="PORT", help="TCP port of these; peers are told which (a free one)")
    add("--tls-cert", type=Path, metavar="FILE", help="certificate, PEM (one that the node's own key has signed)")
    add("--tls-key", type=Path, metavar="FILE", help="its key, PEM")
    add("--tls-ca", type=Path, metavar="FILE", help="certificates by which those of peers are verified (any will do)")
    add("--tls-clients", action="store_true", help="refuse peers that connect without a certificate")
    add("--authorised-peers", type=Path, metavar="FILE", help="who may have associations (everybody)")
    add("--publishers", type=Path, metavar="FILE", help="whose requests are accepted; see netserv key (nobody's)")
    add("--public-probes", action="store_true", help="answer probes that nobody has signed")
    add("--thesis-mode", action="store_true", help="accept requests without nonce, expiry and flow: replay is possible")
    add("--sign-entries", action="store_true", help="sign what this node says in answers with its own key")
    add("--node-id", type=_node_id, metavar="NAME", help="name of this node from now on (made from its key)")
    add("--state-dir", type=Path, metavar="DIR", help="(~/.local/state/netserv)")
    add("--control", default=DEFAULT_NAME, metavar="NAME", help=f"control socket, a path or @NAME ({DEFAULT_NAME})")
    add("--metrics", type=_metrics, metavar="[ADDRESS:]PORT", help=metrics_http.HELP)
    _common(daemon)
    _status(_command(actions, "status", "show how this machine's daemon stands"))


def _status(parser: OneLineParser) -> None:
    parser.add_argument("--prometheus", action="store_true", help="as Prometheus reads it")
    parser.add_argument("--control", default=DEFAULT_NAME, metavar="NAME", help=f"its socket ({DEFAULT_NAME})")
    _common(parser)


def _asking(parser: OneLineParser, *, toward: bool = True) -> None:
    add = parser.add_argument
    if toward:
        add("--toward", required=True, metavar="HOST", help="name or address of the host that the path leads to")
    add("--key", type=Path, metavar="FILE", help="sign with this key, as user NAME; see netserv key new")
    add("--user", metavar="NAME", help="publisher, as routers know it")
    add("--timeout", type=_timeout, default=TIMEOUT_S, metavar="S", help=f"seconds to wait ({TIMEOUT_S:g})")
    add("--expires", type=_timeout, default=300.0, metavar="S", help="seconds that the request is valid (300)")
    add("--datagrams", action="store_true", help="without associations, where the request is short enough")
    add("--profile", choices=("netserv", "rfc"), default="netserv", help="timing, without a daemon")
    add("--control", default=DEFAULT_NAME, metavar="NAME", help=f"socket of the daemon to use ({DEFAULT_NAME})")
    add("--own-node", action="store_true", help="do not use the daemon of this machine")
    _common(parser)


def _key(actions: "argparse._SubParsersAction[OneLineParser]") -> None:
    for name, text in (("new", "make a key"), ("show", "print the public half of a key, for routers")):
        parser = _command(actions, name, text, _KEY_EXAMPLES)
        parser.add_argument("file", type=Path, metavar="FILE", help="PEM")
        parser.add_argument("--user", metavar="NAME", default="NAME", help="whose it is, for the publishers file")
        parser.add_argument("--json", action="store_true", help="one JSON object")


def _config(actions: "argparse._SubParsersAction[OneLineParser]") -> None:
    check = _command(actions, "check", "say whether a netserv.toml is in order, and what it allows", _CONFIG_EXAMPLES)
    check.add_argument("file", type=Path, metavar="FILE", help="TOML")
    check.add_argument("--json", action="store_true", help="one JSON object")
    text = "print the netserv.toml of a configuration in the thesis' form"
    import_xml = _command(actions, "import-xml", text, _CONFIG_EXAMPLES)
    import_xml.add_argument("file", type=Path, metavar="FILE", help="XML")
    _command(actions, "example", "print a netserv.toml with all that it can say", _CONFIG_EXAMPLES)
    _command(actions, "unit", "print the unit by which systemd runs this machine's node", _CONFIG_EXAMPLES)


def _common(parser: OneLineParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; twice for every detail")


def _items(text: str) -> tuple[str, ...]:
    items = tuple(text.split(","))
    if not all(re.fullmatch(r"[a-z][a-z0-9-]*", item) for item in items):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of words with commas, as status,load")
    return items


def _node_id(text: str) -> str:
    if not NODE_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: up to 63 letters, digits, and . _ - inside")
    return text


def _address(text: str) -> PackedAddress:
    try:
        return packed(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address") from None


def _around(area: Area, text: str) -> Around:
    if not re.fullmatch(r"[0-9]{1,2}", text) or not 1 <= int(text) <= RADIUS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 1..{RADIUS_MAX} IP hops")
    return Around(area, int(text))


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 1..65535")
    return int(text)


def _timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds <= TIMEOUT_MAX_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 0..{TIMEOUT_MAX_S:g} seconds")
    return seconds


def _validity(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]+)?", text) or not 1.0 <= float(text) <= VALIDITY_MAX_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 1..{VALIDITY_MAX_S:g} seconds")
    return float(text)


def _metrics(text: str) -> Address:
    try:
        return http_io.listening_address(text)
    except MetricsError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
