"""The command lines of `netserv app`."""

import argparse
import re
from ipaddress import ip_address
from typing import Any, Final, Protocol

from dhtboot.one_line_parser import OneLineParser
from netserv.cli_deploy_options import add_serving, listen, ports, prefix, ttl
from netserv.forwarding.filters import PROTOCOLS
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


MONITOR_PORT: Final = 8471
MONITOR_TTL_S: Final = 300
"Whoever looks at a page stays for minutes, and refreshes three times in that time."
NET_MONITOR_EXAMPLES: Final = f"""\
examples:
  netserv app net-monitor --toward 10.3.0.2 --key alice.pem --user alice --filter-port 5060
  netserv app net-monitor --toward 10.3.0.2 --key alice.pem --user alice --filter-port 80,443 --filter-proto tcp --open
  curl -s http://127.0.0.1:{MONITOR_PORT}/state | jq .parts.flows
  netserv module build --app net-monitor --key alice.pem            the module alone, for netserv deploy

It deploys NetServ.apps.NetMonitor on the nodes of the path, which count the packets of the filter by source,
destination and TTL, and send the counts here each second: their operators have to let modules of this publisher connect
to this machine (connects). Only this machine reaches the page. Ctrl-C and SIGTERM remove the module.
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
    text = "count packets on the nodes of a path, and show them on a page, until stopped"
    net_monitor = add_command("net-monitor", text, NET_MONITOR_EXAMPLES)
    _net_monitor(net_monitor)
    add_asking(net_monitor, toward=True)


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


def _net_monitor(parser: OneLineParser) -> None:
    add = parser.add_argument
    add("--filter-port", type=ports, required=True, metavar="LIST", help="destination ports of the packets to count")
    add("--filter-proto", choices=sorted(PROTOCOLS), default="udp", help="their protocol (udp)")
    add("--filter-dst", type=prefix, metavar="PREFIX", help="their destination (this machine)")
    add("--interval", type=_interval, default=1.0, metavar="S", help="seconds between two reports of a node (1)")
    add("--port", type=_port, default=MONITOR_PORT, help=f"of the page, on this machine only; 0: any ({MONITOR_PORT})")
    add("--open", action="store_true", help="open the page in the browser")
    add("--report", type=listen, default=("", 0), metavar="[ADDRESS:]PORT", help="where reports come to (any port)")
    add("--ttl", type=ttl, default=MONITOR_TTL_S, metavar="S", help=f"seconds to live unrefreshed ({MONITOR_TTL_S})")
    add_serving(parser)


def _interval(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]+)?", text) or not 0.1 <= float(text) <= 60.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 0.1..60 seconds")
    return float(text)


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 0..65535")
    return int(text)


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
