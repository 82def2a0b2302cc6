"""What `netserv gist-dump` may be told."""

import argparse
from typing import Final

from netserv.signaling.gist.addresses import GIST_PORT

EXAMPLES: Final = """\
examples:
  netserv gist-dump path.pcap                                 one block for each message, with all its objects
  netserv gist-dump path.pcapng --json | jq .message          one JSON object a line
  tcpdump -i any -U -w - 'port 270' | netserv gist-dump -     as it passes
  netserv gist-dump path.pcap --tcp-port 4270                 associations on this port only, whatever they begin with
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "file", metavar="FILE", help="capture of tcpdump or Wireshark, pcap or pcapng; - for standard input"
    )
    parser.add_argument(
        "--udp-port", type=_port, default=GIST_PORT, metavar="PORT", help=f"of GIST datagrams ({GIST_PORT})"
    )
    parser.add_argument(
        "--tcp-port",
        type=_port,
        action="append",
        default=[],
        metavar="PORT",
        help="of messaging associations, may be repeated (any connection that begins as one)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a message")


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 0xFFFF:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535: {text}")
    return int(text)
