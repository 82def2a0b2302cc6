"""KeepAlive on a path of two nodes, with Kamailio as the server and sipp as user agents (thesis 7.3).

The full run is `python -m tools.demo_netserv --plane PLANE`: 10,000 keep-alives, 1,000 a second.
"""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netserv.apps.keep_alive import stun
from tests.end_to_end.sites import json_lines, laboratory
from tests.netserv.apps.keep_alive.messages import NOTIFY
from tests.netserv.apps.keep_alive.test_stun import REQUEST
from tools.demo import Terminal
from tools.demo_netserv import PORT, Scene
from tools.netlab import Host, Process, wait_until

# A thousand keep-alives a second, each with 5 ms in its container, while nobody else takes the processor.
pytestmark = [pytest.mark.lab, pytest.mark.heavy]
AGENT = Path(__file__).parent / "keep_alive_agent.py"
AGENT_PORT = 40_000
IDLE_S = 5
NUMBERS = itertools.count(1)
PATIENCE_S = 20.0


@pytest.mark.parametrize("plane", ["netfilter", "xdp"])
def test_keep_alives_stop_reaching_the_server_though_they_are_answered_until_the_module_is_removed(plane: str) -> None:
    with laboratory() as lab, Scene(Terminal(), lab, plane) as scene:
        scene.play(count=2_000, few=200, per_second=1_000)
        assert scene.outcome.faults == []


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with laboratory() as lab, Scene(Terminal(), lab, "netfilter") as found:
        yield found


def sent(scene: Scene, *datagrams: bytes, six: bool = False) -> list[dict[str, Any]]:
    """Send from the user agent, one after the other; what came back to each, without what an answer lacks."""
    hosts = (scene.agent, scene.server)
    own, server = (str(host.ipv6 if six else host.ipv4) for host in hosts)
    lines = "".join(f"{data.hex()}\n" for data in datagrams)
    done = scene.agent.run(sys.executable, str(AGENT), own, str(AGENT_PORT), server, str(PORT), stdin=lines)
    answers = json_lines(done.stdout)
    assert len(answers) == len(datagrams)
    return answers


def keep_alive(host: Host) -> bytes:
    return NOTIFY.replace(b"192.0.2.7", host.ipv4.encode())


def watcher(scene: Scene) -> Process:
    words = ["app", "keep-alive", *scene.publisher.identity, "--idle", str(IDLE_S), "--json"]
    process = scene.publisher.start(*words, log=f"watcher-{next(NUMBERS)}.log")
    process.wait_for('"ready"')
    return process


def wait_event(process: Process, event: str, number: int = 1) -> dict[str, Any]:
    def look() -> list[dict[str, Any]]:
        found = [each for each in json_lines(process.log) if each.get("event") == event]
        return found[number - 1 : number]

    return wait_until(look, PATIENCE_S, f"{number} times {event}", lambda: f":\n{process.log}")[0]


def modules(scene: Scene) -> list[str]:
    return [one["state"] for node in scene.nodes for one in node.modules()]


def test_the_watcher_has_nodes_answer_who_sends_keep_alives_as_long_as_somebody_does(scene: Scene) -> None:
    process, notify = watcher(scene), keep_alive(scene.agent)
    (first,) = sent(scene, notify)
    assert bytes.fromhex(first["data"]).startswith(b"SIP/2.0 200 OK")
    installed = wait_event(process, "installed")
    assert (installed["agent"], installed["nodes"]) == (scene.agent.ipv4, ["node1", "node2"])

    came = scene.kamailio.received()
    answers = sent(scene, notify, b"\r\n\r\n", b"\r\n", bytes(4), REQUEST)
    assert {(each["from"], each["port"]) for each in answers} == {(scene.server.ipv4, PORT)}
    texts = [bytes.fromhex(each["data"]) for each in answers]
    assert texts[0].startswith(b"SIP/2.0 200 OK")
    assert texts[1:4] == [b"\r\n", b"\r\n", bytes(4)]
    assert stun.read_mapped(texts[4]) == (scene.agent.ipv4, AGENT_PORT)
    assert scene.kamailio.received() == came

    # Others are the server's business, and it says so.
    (other,) = sent(scene, notify.replace(b"keep-alive", b"presence"))
    assert bytes.fromhex(other["data"]).startswith(b"SIP/2.0 501")

    removed = wait_event(process, "removed")
    assert removed["nodes"] == ["node1", "node2"]
    wait_until(lambda: not modules(scene), PATIENCE_S, "nodes without modules")
    assert sent(scene, notify)[0]["from"] == scene.server.ipv4
    assert scene.kamailio.received() == came + 1

    wait_event(process, "installed", 2)
    assert process.stop() == 0
    assert wait_event(process, "removed", 2)["nodes"] == ["node1", "node2"]
    wait_until(lambda: not modules(scene), PATIENCE_S, "nodes without modules")


def test_user_agents_of_ipv6_are_answered_as_well(scene: Scene) -> None:
    process = watcher(scene)
    six = [str(host.ipv6) for host in (scene.agent, scene.server)]
    sent(scene, bytes(4), six=True)  # Kamailio listens to IPv4 only, and none answers four zeros
    assert wait_event(process, "installed")["agent"] == six[0]
    answers = sent(scene, bytes(4), REQUEST, six=True)
    assert {(each["from"], each["port"]) for each in answers} == {(six[1], PORT)}
    assert stun.read_mapped(bytes.fromhex(answers[1]["data"])) == (six[0], AGENT_PORT)
