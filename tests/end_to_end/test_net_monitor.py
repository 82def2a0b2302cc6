"""NetMonitor on a path of two nodes, and its page (thesis 7.1)."""

import itertools
import json
import sys
from typing import Any

import pytest

from tests.end_to_end.browser import Browser
from tests.end_to_end.sites import laboratory
from tools.netlab import Host, wait_until
from tools.netlab_chain import chain
from tools.netlab_netserv import Publisher, start_nodes

pytestmark = pytest.mark.lab
PORT = 5060
PAGE = 8471
PATIENCE_S = 20.0
SEND = """
import socket, sys, time
address, port, count, ttl = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
    for _ in range(count):
        sock.sendto(b"x", (address, port))
        time.sleep(0.001)
"""


def sent(host: Host, to: Host, count: int, ttl: int, port: int = PORT) -> None:
    host.run(sys.executable, "-c", SEND, to.ipv4, str(port), str(count), str(ttl))


def state(server: Host) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.run("curl", "-s", f"http://127.0.0.1:{PAGE}/state").stdout)["parts"]
    return found


def test_the_page_shows_what_passes_each_node_and_nothing_is_left_at_the_end() -> None:
    with laboratory() as lab:
        server, node1, node2, agent = chain(lab, "server", "node1", "node2", "agent")
        publisher = Publisher(server)
        nodes = start_nodes((publisher,), node1, node2)
        words = ["app", "net-monitor", "--toward", agent.ipv4, *publisher.identity, "--filter-port", str(PORT)]
        process = publisher.start(*words, "--interval", "0.2", "--json", log="monitor.log")
        process.wait_for('"serving"')
        sent(agent, server, 50, ttl=64)
        sent(agent, server, 20, ttl=9)
        sent(agent, server, 20, ttl=64, port=PORT + 1)  # not of the filter

        def counted() -> dict[str, Any] | None:
            parts = state(server)
            all_in = [hop["packets"] for hop in parts.get("hops", {}).values()] == [70, 70]
            return parts if all_in else None

        parts = wait_until(counted, PATIENCE_S, "70 packets at both nodes", lambda: f": {state(server)}")
        assert parts is not None
        assert [hop["state"] for hop in parts["hops"].values()] == ["counting"] * 2
        (flow,) = parts["flows"].values()
        assert (flow["source"], flow["destination"], flow["packets"]) == (agent.ipv4, server.ipv4, 70)
        seen = {(at["node"], at["ttl"]): at["packets"] for at in flow["at"]}
        assert seen == {("node2", 64): 50, ("node2", 9): 20, ("node1", 63): 50, ("node1", 8): 20}
        _look(server, agent)
        assert process.stop() == 0
        for node in nodes:
            wait_until(lambda node=node: not node.modules(), PATIENCE_S, "a node without modules")


def _look(server: Host, agent: Host) -> None:
    with Browser(server) as browser:
        browser.open(f"http://127.0.0.1:{PAGE}/")
        text = browser.wait("document.querySelectorAll('.hop').length === 2 && document.body.innerText", "both nodes")
        for expected in ("node1", "node2", agent.ipv4, "70", "TTL 9"):
            assert expected in text
        for count in itertools.count(1):
            sent(agent, server, 30, ttl=64)
            if browser.ask("document.querySelector('.hop b').textContent !== '0/s'") or count > 20:
                break
        assert count <= 20, browser.text()
        assert browser.problems == []
