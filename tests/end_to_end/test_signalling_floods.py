"""Strangers flood a node with all that anybody can send: nothing is left of it, and honest hosts are answered."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Any

import pytest

from tests.end_to_end.signalling import SIGNED, daemon, daemons, publisher, rules, status
from tests.end_to_end.sites import PATIENCE_S, json_lines, laboratory
from tools import fuzz_signalling
from tools.netlab import Host, Process, wait_until
from tools.netlab_chain import chain
from tools.signalling_floods import BARE, SPOOFED

pytestmark = pytest.mark.lab
HERE = Path(__file__).parent
CODE = {"PYTHONPATH": os.pathsep.join(sys.path)}
UNSIGNED = 100
FUZZED = 10_000
FLOOD = 100_000
"As fast as one process can: 40,000 a second and more."
RATIO_MAX = 3
GROWTH_MAX_KIB = 16 * 1024
ANSWERED_S = 5.0
"During a flood: a Query that is lost in it is sent again after 0.5, 1 and 2 s."
ADDRESSES = 8
"Of the host that opens mute connections: each may have 64."


@dataclass(frozen=True)
class Siege:
    """An honest host and an attacker on one link with the node, and a receiver behind that."""

    sender: Host
    attacker: Host
    node: Host
    receiver: Host

    prober: Process
    "Runs on the honest host."

    def attack(self, *words: str) -> Process:
        return self.attacker.popen(sys.executable, "-m", "tools.signalling_floods", *words, env=CODE)

    def flood(self, *words: str) -> Process:
        return self.attack("flood", *words)

    def listen(self) -> Process:
        """Count what comes for made-up addresses."""
        listening = self.attack("answers", "eth0")
        listening.wait_for("ready")
        return listening

    def honest(self) -> float:
        """How long an honest probe took, which has to be answered."""
        done = len(json_lines(self.prober.log))
        assert self.prober.stdin is not None
        self.prober.stdin.write(f"{self.receiver.ipv4}\n".encode())
        self.prober.stdin.flush()
        wait_until(lambda: len(json_lines(self.prober.log)) > done, PATIENCE_S, "answer to an honest probe")
        reply = json_lines(self.prober.log)[-1]
        assert reply.get("nodes") == [["node", 200]], reply
        elapsed_s: float = reply["elapsed_s"]
        return elapsed_s


@pytest.fixture(scope="module")
def hosts() -> Iterator[Siege]:
    with laboratory() as lab:
        sender, node, receiver = chain(lab, "sender", "node", "receiver")
        attacker = lab.host("attacker", sender.interfaces["eth0"])
        attacker.run("ip", "route", "replace", "default", "via", node.ipv4)
        for number in range(ADDRESSES):
            attacker.run("ip", "address", "add", f"10.1.0.{100 + number}/24", "dev", "eth0")
        node.run("ip", "route", "add", SPOOFED, "via", attacker.ipv4)  # so that answers to made-up addresses are seen
        publisher(sender, node)
        prober = sender.popen(sys.executable, str(HERE / "honest_prober.py"), stdin=subprocess.PIPE)
        prober.wait_for("ready")
        yield Siege(sender, attacker, node, receiver, prober)
        assert prober.stdin is not None
        prober.stdin.close()


@pytest.fixture
def siege(hosts: Siege) -> Siege:
    daemon(hosts.node)
    return hosts


def counted(process: Process) -> list[dict[str, Any]]:
    """What a program has printed at its end."""
    assert process.wait(30) == 0, process.log
    return json_lines(process.log)


def resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))


@pytest.mark.heavy
def test_a_flood_of_queries_leaves_nothing_and_is_answered_by_little_more_than_it_is(siege: Siege) -> None:
    siege.honest()
    before = status(siege.node)
    before_kib = resident_kib(before.pid)
    listening = siege.listen()
    flood = siege.flood(siege.receiver.ipv4, "queries-for-connections", "--count", str(FLOOD))
    time.sleep(1.0)
    took_s = siege.honest()
    (sent,) = counted(flood)
    wait_until(lambda: not status(siege.node).sessions, PATIENCE_S, "end of the honest session")
    after = status(siege.node)
    listening.terminate()
    (answers,) = counted(listening)
    grown_kib = resident_kib(after.pid) - before_kib
    print(f"{sent}, an honest probe in {took_s:.3f} s, {answers}, {grown_kib} KiB more")
    assert sent["sent"] == FLOOD
    assert set(answers) == {"Response"}
    assert answers["Response"]["bytes_max"] <= RATIO_MAX * sent["bytes"]
    assert 0 < answers["Response"]["packets"] <= FLOOD
    assert (after.sessions, after.peers, after.associations) == (0, 0, 0)
    assert after.counters["gist"]["queries_answered"] > before.counters["gist"]["queries_answered"]
    let_through = after.counters["tproxy"]["caught"] + after.counters["tproxy"].get("overrun", 0)
    assert let_through < FLOOD / 3  # the rest has cost the node nothing
    assert grown_kib < GROWTH_MAX_KIB
    assert took_s < ANSWERED_S


def test_what_is_no_query_of_a_stranger_is_dropped_in_silence_and_counted(siege: Siege) -> None:
    listening = siege.listen()
    flood = siege.flood(siege.node.ipv4, *BARE, "confirms", "responses", "--count", "100", "--per-s", "1000")
    sent = counted(flood)
    siege.honest()
    listening.terminate()
    assert counted(listening) == [{}]  # an Error about a header alone would be five times as long
    counters = status(siege.node).counters["gist"]
    assert [each["sent"] for each in sent] == [100] * (len(BARE) + 2)
    assert (counters["bad_cookies"], counters["unexpected"]) == (100, 100)
    assert counters["malformed"] + counters["wrong_encapsulation"] == counters["errors_held_back"] == 100 * len(BARE)


@pytest.mark.heavy
def test_mute_connections_give_way_to_an_honest_one(siege: Siege) -> None:
    addresses = [f"10.1.0.{100 + number}" for number in range(ADDRESSES)]
    words = (str(HERE / "mute_connections.py"), siege.node.ipv4, "270", str(64 * ADDRESSES), *addresses)
    mute = siege.attacker.popen(sys.executable, *words)
    mute.wait_for("connections")
    took_s = siege.honest()
    after = status(siege.node)
    mute.terminate()
    assert mute.wait(PATIENCE_S) == 0
    assert took_s < 1.0
    assert after.associations <= 256 + 1
    assert after.counters["gist"]["associations_unconfirmed"] >= 64 * ADDRESSES - 256


def test_requests_that_nobody_has_signed_are_refused_and_forgotten(siege: Siege) -> None:
    words = (str(HERE / "bad_signatures.py"), siege.receiver.ipv4, str(UNSIGNED))
    asking = siege.attacker.popen(sys.executable, *words, env=CODE)
    (said,) = counted(asking)
    assert said["codes"] == {"401": UNSIGNED}
    siege.honest()
    after = status(siege.node)
    assert after.counters["nslp"]["refused"] == UNSIGNED
    assert after.counters["nslp"]["handled"] == 1
    wait_until(lambda: not status(siege.node).sessions, PATIENCE_S, "end of the sessions")


@pytest.mark.heavy
def test_broken_datagrams_and_streams_do_no_harm() -> None:
    with laboratory() as lab:
        report = fuzz_signalling.fuzz(
            fuzz_signalling.Scene(lab), FUZZED, SystemRandom().getrandbits(32), per_s=10_000.0
        )
        print(report)
        counters = report["counters"]["gist"]
        assert counters["malformed"] > 1_000
        assert counters["received"] > 5_000


@pytest.mark.heavy
def test_a_node_that_is_killed_or_ended_under_load_has_its_rules_once_and_then_not_at_all(hosts: Siege) -> None:
    running = daemon(hosts.node)
    clean = rules(hosts.node)
    flood = hosts.flood(hosts.receiver.ipv4, "queries-for-connections", "--seconds", "3")
    time.sleep(0.5)
    running.kill()
    running.wait()
    running = daemon(hosts.node)
    again = rules(hosts.node)
    begun = time.monotonic()
    assert running.stop(timeout_s=3.0) == 0
    took_s = time.monotonic() - begun
    counted(flood)
    assert again.count("-j NETSERV") == clean.count("-j NETSERV") > 0
    assert again.count("-A NETSERV") == clean.count("-A NETSERV")
    assert again.count("lookup 270") == clean.count("lookup 270") == 2
    left = rules(hosts.node)
    assert "NETSERV" not in left
    assert "lookup 270" not in left
    print(f"ended in {took_s:.2f} s under load")


def test_ctrl_c_ends_a_probe_that_waits_and_leaves_nothing(siege: Siege) -> None:
    siege.receiver.run("iptables", "-A", "OUTPUT", "-p", "icmp", "-j", "DROP")
    (siege.sender.directory / "publishers.toml").write_text("")
    own = daemons(siege.sender, arguments=("--interceptor", "none"))["sender"]
    words = ("probe", "--toward", siege.receiver.ipv4, *SIGNED)
    try:
        by_daemon = siege.sender.popen(Host.program("netserv"), *words, "--control", "control")
        by_itself = siege.sender.popen(Host.program("netserv"), *words)
        wait_until(lambda: status(siege.sender).asking == 1, PATIENCE_S, "request")
        wait_until(lambda: status(siege.node).counters["nslp"]["requests"] == 2, PATIENCE_S, "requests")
        for process in (by_daemon, by_itself):
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_S) == 130, process.log
            assert process.log == ""
        wait_until(lambda: status(siege.sender).asking == 0, PATIENCE_S, "end of the request")
        # At once, and not when the node knows after 7.5 s that it is the last one.
        wait_until(lambda: status(siege.sender).sessions == 0, 3.0, "end of the session")
    finally:
        siege.receiver.run("iptables", "-F", "OUTPUT")
    assert own.stop() == 0
