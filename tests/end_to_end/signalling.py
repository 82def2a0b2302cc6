"""What the laboratories of signalling share: daemons, what they say of themselves, and what they may have left."""

from typing import Any

import trio

from netserv.signaling.control_client import ControlClient
from netserv.signaling.status import Status
from tests.end_to_end.sites import command, json_lines
from tools.netlab import Host, Process

SIGNED = ("--key", "alice.pem", "--user", "alice")


def publisher(sender: Host, *nodes: Host) -> None:
    """Make a key on the sender that the nodes know."""
    alice = command(sender, "netserv", "key", "new", "alice.pem", "--user", "alice").stdout
    for host in nodes:
        (host.directory / "publishers.toml").write_text(alice)


def daemon(host: Host, *arguments: str) -> Process:
    """Start one and wait until it is ready."""
    return daemons(host, arguments=arguments)[host.name]


def daemons(*hosts: Host, arguments: tuple[str, ...] = ()) -> dict[str, Process]:
    """Start one on each host and wait until all are ready."""
    known = ("--publishers", "publishers.toml", "--control", "control", "-v", *arguments)
    started = {
        host.name: host.popen(host.program("netserv"), "signal", "daemon", "--node-id", host.name, *known)
        for host in hosts
    }
    for process in started.values():
        process.wait_for("is ready")
    return started


def status(host: Host) -> Status:
    """How a node stands. Its socket is in the file system: no program need be started there."""
    return trio.run(ControlClient(str(host.directory / "control")).status)


def probe(host: Host, toward: str, *arguments: str) -> dict[str, Any]:
    """What a host is answered that probes."""
    done = command(host, "netserv", "probe", "--toward", toward, "--json", *arguments)
    assert done.returncode == 0, done
    (reply,) = json_lines(done.stdout)
    return reply


def stack(reply: dict[str, Any]) -> list[tuple[str, int]]:
    """Nodes of an answer, nearest first, each with its code."""
    return [(node["node_id"], node["code"]) for node in reply["nodes"]]


def rules(host: Host) -> str:
    """All that an interceptor may have left."""
    tables = [host.run(program, check=False).stdout for program in ("iptables-save", "ip6tables-save")]
    return "".join([*tables, *(host.run("ip", version, "rule").stdout for version in ("-4", "-6"))])
