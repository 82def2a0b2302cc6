"""Signalling along a path: sender, plain router, node 1, node 2, plain router, receiver; the last two run nothing."""

import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from netserv.signaling.asking import Signer, prepared
from netserv.signaling.gist.addresses import packed
from netserv.signaling.key_files import load_key
from netserv.signaling.nslp.requests import Remove, encode
from netserv.signaling.nslp.values import Flow, ModuleRef
from tests.end_to_end.signalling import SIGNED, rules
from tests.end_to_end.sites import command, json_lines, laboratory
from tools.netlab import Host, Process
from tools.netlab_chain import chain

pytestmark = pytest.mark.lab

ANSWERED_S = 0.05
"Where ICMP says who is last; of the exchange, without the start of the command."
ANSWERED_WITHOUT_ICMP_S = 8.0
REMEMBERED_S = 1.5
"A node remembers for a second that the end of a flow has no GIST; what the tests before were told must be forgotten."


@dataclass(frozen=True)
class Path:
    """Daemons run on the two nodes only."""

    sender: Host
    nodes: tuple[Host, Host]
    daemons: tuple[Process, Process]
    behind: Host
    receiver: Host

    def probe(self, *arguments: str, toward: str | None = None) -> dict[str, Any]:
        """What the sender is answered."""
        words = ("probe", "--toward", toward or self.receiver.ipv4, "--json", *arguments)
        done = command(self.sender, "netserv", *words)
        assert done.returncode == 0, done
        (reply,) = json_lines(done.stdout)
        return reply

    def status(self, number: int) -> dict[str, Any]:
        """How a node stands."""
        (status,) = json_lines(command(self.nodes[number], "netserv", "signal", "status", "--json").stdout)
        return status


def daemon(host: Host, *arguments: str) -> Process:
    """Start one and wait until it is ready."""
    words = ("signal", "daemon", "--node-id", host.name, "--publishers", "publishers.toml", "-v", *arguments)
    process = host.popen(host.program("netserv"), *words)
    process.wait_for("is ready")
    return process


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    with laboratory() as lab:
        sender, _, first, second, behind, receiver = chain(lab, "sender", "r1", "node1", "node2", "r2", "receiver")
        alice = command(sender, "netserv", "key", "new", "alice.pem", "--user", "alice").stdout
        for host in (first, second):
            (host.directory / "publishers.toml").write_text(alice)
        daemons = daemon(first), daemon(second)
        yield Path(sender, (first, second), daemons, behind, receiver)


def nodes(reply: dict[str, Any]) -> list[tuple[str, int]]:
    return [(node["node_id"], node["code"]) for node in reply["nodes"]]


def test_a_signed_probe_returns_the_two_nodes_of_the_path_nearest_first(path: Path) -> None:
    path.probe(*SIGNED)  # the first one finds no associations
    reply = path.probe(*SIGNED, "--what", "status,load,address")
    assert nodes(reply) == [("node1", 200), ("node2", 200)]
    assert [node["last_by"] for node in reply["nodes"]] == [None, "icmp"]
    assert [node["address"] for node in reply["nodes"]] == [path.nodes[0].ipv4, path.nodes[1].ipv4]
    assert set(reply["nodes"][0]["lines"]) == {"status", "load", "addresses"}
    assert reply["elapsed_s"] < ANSWERED_S
    assert not reply["by_daemon"]


def test_the_path_of_ipv6_has_the_same_nodes(path: Path) -> None:
    reply = path.probe(*SIGNED, toward=path.receiver.ipv6)
    assert nodes(reply) == [("node1", 200), ("node2", 200)]


def test_a_probe_by_datagrams_needs_no_association(path: Path) -> None:
    before = path.status(0)["counters"]["associations"]
    reply = path.probe(*SIGNED, "--datagrams")
    assert nodes(reply) == [("node1", 200), ("node2", 200)]
    assert path.status(0)["counters"]["associations"] == before


def test_where_icmp_is_filtered_the_last_node_finds_out_by_itself(path: Path) -> None:
    path.receiver.run("iptables", "-A", "OUTPUT", "-p", "icmp", "-j", "DROP")
    time.sleep(REMEMBERED_S)
    try:
        reply = path.probe(*SIGNED)
    finally:
        path.receiver.run("iptables", "-F", "OUTPUT")
    assert nodes(reply) == [("node1", 200), ("node2", 200)]
    assert reply["nodes"][1]["last_by"] == "timeout"
    assert reply["elapsed_s"] < ANSWERED_WITHOUT_ICMP_S


def test_a_node_that_knows_another_key_refuses_and_passes_on_all_the_same(path: Path) -> None:
    other = command(path.sender, "netserv", "key", "new", "other.pem", "--user", "alice").stdout
    known = path.nodes[1].directory / "publishers.toml"
    before = known.read_text()
    try:
        known.write_text(other)
        path.daemons[1].send_signal(signal.SIGHUP)
        path.daemons[1].wait_for("read again")
        reply = path.probe(*SIGNED)
    finally:
        known.write_text(before)
        path.daemons[1].send_signal(signal.SIGHUP)
    assert nodes(reply) == [("node1", 200), ("node2", 401)]
    assert reply["code"] == 401


def test_a_request_that_no_node_may_take_is_answered_by_all_of_them(path: Path) -> None:
    reply = path.probe()
    assert [code for _name, code in nodes(reply)] == [401, 401]


def test_a_request_of_a_file_is_signed_and_sent(path: Path) -> None:
    text = "REMOVE NetServ.apps.NetMonitor_1.0.0 NETSERV/0.1\n"
    done = path.sender.run(
        path.sender.program("netserv"), "send", "-", "--toward", path.receiver.ipv4, "--json", *SIGNED, stdin=text
    )
    assert nodes(json.loads(done.stdout)) == [("node1", 404), ("node2", 404)]


def test_a_trigger_is_answered_along_the_reverse_path(path: Path) -> None:
    inner = "PROBE * NETSERV/0.1\nprobe:status\n\n"
    before = [path.status(number)["counters"]["nslp"] for number in (0, 1)]
    done = path.sender.run(
        path.sender.program("netserv"), "send", "-", "--toward", path.receiver.ipv4, "--json", *SIGNED,
        stdin=f"TRIGGER * NETSERV/0.1\n\n{inner}",
    )  # fmt: skip
    reply = json.loads(done.stdout)
    # The way back begins at node 2, and its last node is node 1: the sender has nothing at the port of GIST.
    assert nodes(reply) == [("node2", 200), ("node1", 200)]
    assert [node["last_by"] for node in reply["nodes"]] == [None, "icmp"]
    assert all("status" in node["lines"] for node in reply["nodes"])
    after = [path.status(number)["counters"]["nslp"] for number in (0, 1)]
    assert [new["triggers"] - old["triggers"] for new, old in zip(after, before, strict=True)] == [0, 1]


def test_a_request_sent_again_by_whoever_has_heard_it_does_nothing(path: Path) -> None:
    (path.sender.directory / "heard.txt").write_bytes(_signed_remove(path))
    before = path.status(0)["counters"]["nslp"]
    words = ("netserv", "send", "heard.txt", "--toward", path.receiver.ipv4, "--as-is", "--json")
    replies = [json_lines(command(path.sender, *words).stdout)[0] for _ in range(2)]
    assert [nodes(reply) for reply in replies] == [[("node1", 404), ("node2", 404)]] * 2
    after = path.status(0)["counters"]["nslp"]
    assert after["handled"] - before["handled"] == 1
    assert after["seen_before"] - before["seen_before"] == 1
    # The same along another path: it was signed for this one.
    path.sender.run(path.sender.program("netserv"), "send", "heard.txt", "--toward", path.behind.ipv4, "--as-is")
    assert path.status(0)["counters"]["nslp"]["handled"] == after["handled"]


def _signed_remove(path: Path) -> bytes:
    flow = Flow(packed(path.sender.ipv4), packed(path.receiver.ipv4))
    remove = Remove(target=ModuleRef("NetServ.apps.NetMonitor", "1.0.0"), user="alice")
    signer = Signer("alice", load_key(path.sender.directory / "alice.pem"))
    return encode(prepared(remove, flow, signer))


def test_a_daemon_of_the_sender_is_used_and_is_no_node_of_the_path(path: Path) -> None:
    (path.sender.directory / "publishers.toml").write_text("")
    own = path.sender.popen(path.sender.program("netserv"), "signal", "daemon", "--interceptor", "none")
    own.wait_for("is ready")
    reply = path.probe(*SIGNED)
    assert reply["by_daemon"]
    assert nodes(reply) == [("node1", 200), ("node2", 200)]
    assert own.stop() == 0


def test_a_program_asks_as_the_command_does(path: Path) -> None:
    program = (
        "import trio\n"
        "from pathlib import Path\n"
        "from netserv.signaling.asking import Signer, probe\n"
        "from netserv.signaling.key_files import load_key\n"
        "signer = Signer('alice', load_key(Path('alice.pem')))\n"
        f"reply = trio.run(lambda: probe({path.receiver.ipv4!r}, items=('load',), signer=signer))\n"
        "for each in reply.response.nearest_first(): print(each.node_id, each.code, len(each.lines))\n"
    )
    assert path.sender.run(sys.executable, "-c", program).stdout == "node1 200 1\nnode2 200 1\n"


def test_nobody_on_the_path_is_a_failure_in_one_line(path: Path) -> None:
    done = command(path.behind, "netserv", "probe", "--toward", path.receiver.ipv4)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "the destination's kernel says that nothing listens on the GIST port" in line


def test_a_second_daemon_of_a_namespace_is_refused(path: Path) -> None:
    done = command(path.nodes[0], "netserv", "signal", "daemon", "--state-dir", "other")
    assert done.returncode == 1
    assert "runs in this network namespace already" in done.stderr


def test_a_daemon_that_is_ended_leaves_no_rule(path: Path) -> None:
    host, running = path.nodes[0], path.daemons[0]
    assert "NETSERV" in rules(host)
    assert running.stop() == 0
    assert "NETSERV" not in rules(host)
    assert "lookup 270" not in rules(host)
    assert nodes(path.probe(*SIGNED)) == [("node2", 200)]


def test_two_nodes_that_insist_on_tls_have_it() -> None:
    with laboratory() as lab:
        sender, first, second, receiver = chain(lab, "sender", "node1", "node2", "receiver")
        for host in (first, second):
            (host.directory / "publishers.toml").write_text("")
        running = daemon(first, "--tls-only", "--public-probes"), daemon(second, "--tls-only", "--public-probes")
        path = Path(sender, (first, second), running, second, receiver)
        assert nodes(path.probe()) == [("node1", 200), ("node2", 200)]
        ports = path.status(0)["association_port"], path.status(0)["secure_port"]
        assert ports[0] is None
        associations = path.status(0)["gist"]["associations"]
        assert [each["secure"] for each in associations if each["opened_by_us"]] == [True]
        assert not first.run("sh", "-c", "ss -Htln 'sport = :270'").stdout
        assert [each.stop() for each in running] == [0, 0]
