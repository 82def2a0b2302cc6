"""Nodes with modules on a path: publisher's server, node 1, node 2, user agent."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.publisher_host import PublisherHost
from tests.end_to_end.sites import PATIENCE_S, command, laboratory
from tests.end_to_end.told import Told, told
from tools.netlab import wait_until
from tools.netlab_chain import chain
from tools.netlab_netserv import ADVERTISED, RunningNode

pytestmark = pytest.mark.lab
PORT = 5060
PACKETS = ("--filter-proto", "udp", "--filter-port", str(PORT))
DOES_AS_TOLD = """
import time
from netserv.modules.api import ACCEPT, DROP, Activator


class Module(Activator):
    def start(self, context):
        self.context = context
        self.mark = context.properties.get("mark", "").encode()

    def process(self, packet):
        payload = bytes(packet.payload)
        if payload.startswith(b"drop"):
            return DROP
        if payload.startswith(b"mark"):
            return packet.replaced(payload + b" " + self.mark)
        if payload.startswith(b"loop"):
            while True:
                pass
        if payload.startswith(b"raise"):
            raise ValueError("as the packet wants it")
        if payload.startswith(b"rubbish"):
            return object()
        if payload.startswith(b"end"):
            import os
            os._exit(3)
        return ACCEPT
"""
NAME = "tests.Told"
MODULE = f"{NAME}_1.0.0"


class Scene:
    """All of it."""

    def __init__(self, publishers: list[PublisherHost], nodes: list[RunningNode], server: Told, agent: Told) -> None:
        (self.alice, self.bob), self.nodes = publishers, nodes
        self.server, self.agent = server, agent
        self.bundle = self.alice.build(NAME, DOES_AS_TOLD, 'kind = "packet"\nfailure = "reload"')
        self._sent = 0

    def send(self, word: str) -> str:
        """The user agent sends the server a datagram of its own; its text."""
        self._sent += 1
        text = f"{word} {self._sent}"
        self.agent.write(to=self.alice.host.ipv4, port=PORT, payload=text)
        return text

    def arrives(self, text: str) -> None:
        """The server gets it."""
        self.server.wait("received", payload=text)

    def passes(self) -> None:
        """A packet that nobody minds arrives."""
        self.arrives(self.send("passes"))

    def passes_again(self) -> None:
        """Packets arrive, but for those that whoever was killed had in his hands."""

        def look() -> bool:
            text = self.send("again")
            time.sleep(0.1)
            return text in [each["payload"] for each in self.server.events("received")]

        wait_until(look, PATIENCE_S, "packets that pass again")

    def is_dropped(self) -> None:
        """A module drops a packet: the next one comes, and it does not."""
        text = self.send("drop")
        self.passes()
        assert text not in [each["payload"] for each in self.server.events("received")]

    def deploy(self, *arguments: str, **more: str) -> None:
        """Deploy the module to both nodes."""
        for node in self.nodes:
            node.ensure()
        found = self.alice.deploy(more.get("bundle", self.bundle), *PACKETS, *arguments)
        assert [(node, code) for node, code, _ in found] == [("node1", 200), ("node2", 200)], found

    def clear(self) -> None:
        """Take the module away, if it is there."""
        self.alice.remove(MODULE)
        for node in self.nodes:
            node.wait_for(MODULE, None)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with laboratory() as lab:
        server, first, second, agent = chain(lab, "server", "node1", "node2", "agent")
        publishers = [PublisherHost(server, user, agent) for user in ("alice", "bob")]
        tables = "\n".join(
            f'[publishers.{one.user}]\nkey = "{one.public_key}"\nprefixes = ["{prefix}"]\nports = ["tcp/8080"]'
            for one, prefix in zip(publishers, ("10.1.0.0/24", "10.99.0.0/24"), strict=True)
        )
        for host in (first, server):
            (host.directory / "policy.toml").write_text('[sites]\naddresses = "all"\n')
            (host.directory / "secret.txt").touch(mode=0o600)
            (host.directory / "secret.txt").write_text("correct horse battery\n")
        sites = 'policy = "policy.toml"\nsites = ["office"]\nsecret_file = "secret.txt"'
        nodes = [RunningNode(first, tables, discovery=ADVERTISED + sites), RunningNode(second, tables)]
        for node in nodes:
            node.ready()
        peers = told(server, "packet_peer.py", str(PORT)), told(agent, "packet_peer.py", "4000")
        yield Scene(publishers, nodes, *peers)
        for peer in peers:
            peer.end()
        for node in nodes:
            print(f"== {node.host.name}\n{node.process.log}")


def left_of(node: RunningNode, pids: set[int]) -> dict[str, object]:
    """What a node has in the kernel, beside its own processes."""
    rules = "".join(node.host.run(each, check=False).stdout for each in ("iptables-save", "ip6tables-save"))
    links = node.host.run("ip", "-details", "link").stdout
    queues = node.host.run("cat", "/proc/net/netfilter/nfnetlink_queue", check=False).stdout
    return {
        "rules": "NETSERV" in rules,
        "programs": "prog/xdp" in links,
        "queues": queues.strip(),
        "processes": {" ".join(_stat(pid)[:2]) for pid in pids if _stat(pid)[1:2] not in ([], ["Z"])},
        "bundles": list((node.host.directory / "state-of-node").glob(".draft-*")),
    }


def test_a_module_is_deployed_treats_packets_and_is_removed(scene: Scene) -> None:
    scene.deploy("--property", "mark=seen")
    scene.is_dropped()
    scene.arrives(f"{scene.send('mark')} seen seen")  # by both nodes, one after the other
    found = scene.nodes[0].module(MODULE)
    assert found is not None
    assert (found["user"], found["state"], found["authorization"]) == ("alice", "active", "prefix")
    assert all(scene.nodes[0].container("alice")["walls"].values())
    scene.clear()
    scene.arrives(scene.send("drop"))


def test_a_node_is_found_with_the_modules_that_it_has(scene: Scene) -> None:
    scene.deploy()
    find = ("find", "--link", "--module", NAME, "--json")
    wait_until(
        lambda: "node1" in command(scene.alice.host, "netserv-discovery", *find).stdout,
        PATIENCE_S,
        "node with a module",
    )
    scene.clear()


def test_a_node_is_found_by_sites_that_have_its_secret(scene: Scene) -> None:
    scene.nodes[0].ensure()
    sites = ("find", "--sites", "office", "--json")

    def found(*secret: str) -> str:
        return command(scene.alice.host, "netserv-discovery", *sites, *secret).stdout

    wait_until(lambda: "node1" in found("--secret-file", "secret.txt"), PATIENCE_S, "node by its site")
    assert not found()
    assert not found("--secret", "another phrase")


def test_a_module_may_go_to_the_node_nearest_to_a_user_alone(scene: Scene) -> None:
    needs = scene.alice.build("tests.Needs", DOES_AS_TOLD, 'kind = "packet"\nrequires = ["metrics>=1.0"]')
    near = ("deploy", needs, "--near-user", scene.alice.toward.ipv4, *scene.alice.signed, *PACKETS)
    done = command(scene.alice.host, "netserv", *near)
    assert done.returncode == 0, done
    assert [node.state("tests.Needs_1.0.0") for node in scene.nodes] == [None, "active"]
    scene.alice.remove("tests.Needs_1.0.0")


def test_it_ends_with_its_time_unless_it_is_refreshed(scene: Scene) -> None:
    scene.deploy("--ttl", "4")
    process = scene.nodes[0].container("alice")["process"]
    scene.deploy("--ttl", "4")
    found = scene.nodes[0].module(MODULE)
    assert found is not None
    assert scene.nodes[0].container("alice")["process"] == process
    for node in scene.nodes:
        node.wait_for(MODULE, None)
    scene.arrives(scene.send("drop"))


def test_other_properties_start_it_anew_and_a_newer_version_takes_its_place(scene: Scene) -> None:
    scene.deploy("--property", "mark=one")
    scene.deploy("--property", "mark=two")
    scene.arrives(f"{scene.send('mark')} two two")
    newer = scene.alice.build(NAME, DOES_AS_TOLD.replace("self.mark)", "b'new')"), 'kind = "packet"', "1.1.0")
    scene.deploy(bundle=newer)
    scene.arrives(f"{scene.send('mark')} new new")
    refused = scene.alice.deploy(scene.bundle, *PACKETS)
    assert [code for _, code, _ in refused] == [409, 409]
    assert [code for _, code, _ in scene.alice.remove(f"{NAME}_1.1.0")] == [202, 202]
    for node in scene.nodes:
        node.wait_for(f"{NAME}_1.1.0", None)


def test_nobody_else_has_a_say_about_a_module_and_nobody_has_the_packets_of_others(scene: Scene) -> None:
    scene.deploy()
    assert [code for _, code, _ in scene.bob.remove(MODULE)] == [404, 404]
    scene.is_dropped()
    scene.clear()
    foreign = scene.bob.build("tests.Foreign", DOES_AS_TOLD, 'kind = "packet"')
    found = scene.bob.deploy(foreign, *PACKETS)
    assert [(code, "not in the prefixes" in text) for _, code, text in found] == [(403, True)] * 2
    done = scene.bob.run("deploy", scene.bundle, *PACKETS)
    assert (done.returncode, done.stdout) == (1, "")
    assert "signed with another key" in done.stderr
    for node in scene.nodes:
        assert node.status().node["modules"] == []


def test_a_bundle_that_is_not_what_the_request_says_is_not_installed(scene: Scene) -> None:
    bundle = scene.alice.build("tests.Other", DOES_AS_TOLD, 'kind = "packet"')  # none that a node has already
    served = scene.alice.host.directory / "www"
    served.mkdir()
    (served / "other.zip").write_bytes((scene.alice.host.directory / bundle).read_bytes() + b"\0")
    web = scene.alice.host.popen("python3", "-u", "-m", "http.server", "8000", "--directory", "www")
    web.wait_for("Serving")
    url = f"http://{scene.alice.host.ipv4}:8000/other.zip"
    found = scene.alice.deploy(bundle, *PACKETS, "--url", url)
    assert [(code, "SHA-256" in text) for _, code, text in found] == [(400, True)] * 2
    missing = scene.alice.deploy(bundle, *PACKETS, "--url", f"http://{scene.alice.host.ipv4}:8000/none.zip")
    assert [code // 100 for _, code, _ in missing] == [4, 4]
    web.stop()
    assert [code for _, code, _ in scene.alice.remove("tests.Other_1.0.0")] == [200, 200]


@pytest.mark.parametrize("word", ["loop", "raise", "rubbish", "end"])
def test_a_module_that_fails_lets_its_packets_pass_and_comes_back(scene: Scene, word: str) -> None:
    scene.deploy()
    scene.is_dropped()
    scene.arrives(scene.send(word))
    scene.passes()
    # `end` and `loop` cost it its container, which is started again after a second.
    wait_until(
        lambda: all(node.container("alice")["running"] for node in scene.nodes), PATIENCE_S, "containers that run"
    )
    wait_until(lambda: _drops(scene), PATIENCE_S, "module that works again")
    scene.clear()


def _drops(scene: Scene) -> bool:
    text = scene.send("drop")
    scene.passes()
    return text not in [each["payload"] for each in scene.server.events("received")]


def test_after_a_kill_nothing_is_left_and_the_next_start_installs_again_what_has_time(scene: Scene) -> None:
    scene.deploy("--ttl", "600")
    node = scene.nodes[0]
    short = scene.alice.build("tests.Short", DOES_AS_TOLD, 'kind = "packet"')
    assert [code for _, code, _ in scene.alice.deploy(short, *PACKETS, "--ttl", "3")] == [200, 200]
    (container,) = node.status().node["containers"]
    node.process.kill()
    node.process.wait()
    wait_until(lambda: not Path(f"/proc/{container['process']}").exists(), PATIENCE_S, "end of the container")
    scene.passes_again()
    scene.nodes[1].wait_for("tests.Short_1.0.0", None)  # its time is over there, and so here
    node.start()
    node.wait_for(MODULE, "active")
    assert node.state("tests.Short_1.0.0") is None
    scene.is_dropped()
    scene.clear()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_node_that_ends_leaves_nothing(scene: Scene, end: signal.Signals) -> None:
    scene.deploy()
    node = scene.nodes[1]
    pids = {int(one["process"]) for one in node.status().node["containers"]}
    pids |= {
        int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _stat(int(pid))[2:] == [str(node.process.pid)]
    }
    node.process.send_signal(end)
    assert node.process.wait(PATIENCE_S) == (0 if end == signal.SIGTERM else 130)
    left = left_of(node, pids)
    assert left == {"rules": False, "programs": False, "queues": "", "processes": set(), "bundles": []}
    scene.passes()
    node.start()
    node.wait_for(MODULE, "active")
    scene.clear()


def _stat(pid: int) -> list[str]:
    """Name, state and parent of a process (proc(5)); empty if there is none."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        return []
    return [name, *rest.split()[:2]]
