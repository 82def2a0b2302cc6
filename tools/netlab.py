"""A laboratory of several subnets on one machine: network namespaces joined by routers, with real Avahi on each host.

In a test or a program:

    with Lab() as lab:
        home, office = lab.subnet("home", "198.51.100.0/24"), lab.subnet("office", "203.0.113.0/24", "2001:db8:2::/64")
        a, b = lab.host("a", home), lab.host("b", office)
        lab.router("r", home, office)
        avahi_a, avahi_b = lab.start_avahi(a, b)
        avahi_a.publish("Tom's Music", "_daap._tcp", 3689, ["txtvers=1"])
        assert avahi_b.browse("_daap._tcp") == []  # multicast does not cross the router

On the command line, `python -m tools.netlab play` builds one to walk around in.
"""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools import netlab_keeper as keeper
from tools.netlab_avahi import Avahi, BrowsedService, Publication, Watch, decode_label, decode_txt, parse_line
from tools.netlab_host import Host, Subnet, environment
from tools.netlab_lab import Lab
from tools.netlab_process import LabError, Process, end_by_exception, wait_until

__all__ = [
    "Avahi",
    "BrowsedService",
    "Host",
    "Lab",
    "LabError",
    "Process",
    "Publication",
    "Subnet",
    "Watch",
    "decode_label",
    "decode_txt",
    "parse_line",
    "wait_until",
]

SUBNETS_MAX: Final = 16
HOSTS_MAX: Final = 32
"Per subnet: sixteen times that many Avahi daemons are what one machine can be asked to run."

EXAMPLES: Final = """examples:
  python -m tools.netlab play                          two subnets, one router, two hosts each, until Ctrl-C
  python -m tools.netlab play --subnets 3 --hosts 1
  python -m tools.netlab shell h1-1                    a shell on a host, from another terminal
  python -m tools.netlab shell h1-1 avahi-browse -art  one command on a host
  python -m tools.netlab clean                         after a kill -9 of everything
"""


def play(subnets: int, hosts: int) -> int:
    """Build a laboratory with Avahi on every host, tell how to enter it, and keep it until a signal comes."""
    with Lab() as lab:
        links = [lab.subnet(f"net{n}", f"198.51.{99 + n}.0/24", f"2001:db8:{n}::/64") for n in range(1, subnets + 1)]
        router = lab.router("router", *links)
        here = [lab.host(f"h{n}-{k}", link) for n, link in enumerate(links, 1) for k in range(1, hosts + 1)]
        lab.start_avahi(*here)
        print(f"laboratory {lab.name}: a router joins {subnets} subnets; multicast stays inside each\n")
        for host in [router, *here]:
            where = ", ".join(str(address) for addresses in host.addresses.values() for address in addresses)
            bus = f"DBUS_SYSTEM_BUS_ADDRESS={host.environment['DBUS_SYSTEM_BUS_ADDRESS']}"
            print(f"{host.name:<8} {where}\n         python -m tools.netlab shell {host.name}")
            print(f"         {shlex.join([*_entry(lab.directory, host.name), 'env', bus, 'sh'])}")
        print(f"\nstate and logs: {lab.directory}/HOST\nCtrl-C ends it and removes everything", flush=True)
        signal.pause()
    return 0


def _entry(directory: Path, host: str) -> list[str]:
    """Return the words before a command that make it run on a host of a running laboratory."""
    pid = keeper.keeper_pid(directory)
    if pid is None:
        raise LabError(f"the laboratory in {directory} is gone")
    return keeper.entry(directory, pid, f"{directory.name.removeprefix(keeper.PREFIX)}-{host}", directory / host)


def shell(host: str, command: Sequence[str]) -> int:
    """Become a shell (or a command) on a host of a running laboratory."""
    found = [path for path in keeper.laboratories() if (path / host).is_dir() and keeper.keeper_pid(path) is not None]
    if len(found) != 1:
        raise LabError(f"{len(found)} running laboratories have a host {host!r}")
    words = [*_entry(found[0], host), *(command or [os.environ.get("SHELL", "sh")])]
    os.execvpe(words[0], words, environment(found[0], host))


def clean() -> int:
    """Remove what dead laboratories left."""
    removed = keeper.clean()
    for directory in removed:
        print(f"removed {directory}")
    print(f"{len(removed)} dead laboratories removed")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.netlab",
        description="Several subnets on one machine, with a router between them and real Avahi on every host.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("play", help="build a laboratory and keep it until Ctrl-C")
    build.add_argument("--subnets", type=int, default=2, choices=range(1, SUBNETS_MAX + 1), metavar="N")
    build.add_argument("--hosts", type=int, default=2, choices=range(1, HOSTS_MAX + 1), metavar="N", help="per subnet")
    enter = commands.add_parser("shell", help="open a shell on a host of a running laboratory")
    enter.add_argument("host")
    enter.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="run this instead of a shell")
    commands.add_parser("clean", help="remove what laboratories left whose processes were killed")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    arguments = _parser().parse_args(argv)
    end_by_exception()
    try:
        match arguments.command:
            case "play":
                return play(arguments.subnets, arguments.hosts)
            case "shell":
                return shell(arguments.host, arguments.words)
            case _:
                return clean()
    except LabError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
