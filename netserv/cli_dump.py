"""`netserv gist-dump`: captured GIST and NSLP traffic in words."""

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from netserv.errors import LocalProtocolError
from netserv.signaling.dump import Dump, as_text
from netserv.signaling.pcap_io import Capture

FAILED: Final = 1
INTERRUPTED: Final = 130
"As of a shell's command that Ctrl-C has ended."


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        0 all of the capture was read, whatever the messages in it are; 1 it cannot be read, or ends too early;
        130 interrupted.
    """
    name = "standard input" if options.file == "-" else options.file
    dump = Dump(udp_port=options.udp_port, tcp_ports=options.tcp_port)
    try:
        with ExitStack() as files:
            capture = Capture(_opened(options.file, files))
            try:
                _print_entries(dump, capture, in_json=options.json)
            finally:
                _say_what_was_seen(dump, capture)
    except LocalProtocolError as error:
        print(f"netserv: {name}: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # as after `| head`: what is buffered has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"netserv: {name}: {error.strerror}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:  # the usual end of a capture that is read as it grows
        return INTERRUPTED
    return 0


def _opened(name: str, files: ExitStack) -> BinaryIO:
    return sys.stdin.buffer if name == "-" else files.enter_context(Path(name).open("rb"))


def _print_entries(dump: Dump, capture: Capture, *, in_json: bool) -> None:
    for entry in dump.entries(capture.packets()):
        # Flushed, since the capture may be one that goes on.
        print(msgspec.json.encode(entry).decode() if in_json else as_text(entry), flush=True)


def _say_what_was_seen(dump: Dump, capture: Capture) -> None:
    text = f"packets {capture.seen:,}, GIST messages {dump.messages:,}, unreadable of them {dump.wrong:,}"
    if not dump.messages:
        text += "; other ports can be named by --udp-port and --tcp-port"
    print(f"netserv: {text}", file=sys.stderr)
