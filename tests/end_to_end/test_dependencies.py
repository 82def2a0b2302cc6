"""A module needs another one that is not here: the node finds it in the DHT, and fetches it as its operator says.

server of alice, carol - | node1: fetches what carol signs | - | node2: fetches nothing | - agent
"""

import sqlite3
import sys
from collections.abc import Iterator

import pytest

from tests.end_to_end.publisher_host import PublisherHost
from tests.end_to_end.sites import PATIENCE_S, command, laboratory, run_mdht
from tools.netlab import Host, Process, wait_until
from tools.netlab_chain import chain
from tools.netlab_netserv import ADVERTISED, RunningNode

pytestmark = pytest.mark.lab
PORT = 8080
BASE = """
from netserv.modules.api import Activator


class Module(Activator):
    def start(self, context):
        context.services.register("tests.words", {"word": "from the index"})
"""
BASE_MANIFEST = 'kind = "server"\nexports = ["tests.words"]'
GREETER = """
from netserv.modules.api import Activator
from netserv.modules.blocks.http_server import HttpServer, Response


class Module(Activator):
    async def start(self, context):
        words = context.services.find("tests.words")
        server = HttpServer(context)

        async def greet(request):
            return Response.text(words["word"])

        server.route("GET", "/")(greet)
        server.serve(context.listen(8080))
"""
GREETER_MANIFEST = """
kind = "server"
requires = ["http-server>=1.0", "{needed}"]
ports = [{{ proto = "tcp", port = 8080 }}]
"""


class Scene:
    """All of it."""

    def __init__(self, alice: PublisherHost, carol: PublisherHost, nodes: list[RunningNode], web: Process) -> None:
        self.alice, self.carol, self.nodes, self.web = alice, carol, nodes, web

    @property
    def node(self) -> RunningNode:
        """That fetches."""
        return self.nodes[0]

    def publish(self, by: PublisherHost, name: str, *, spoilt: bool = False, requires: str = "") -> None:
        """Have a module in the index, and its bundle on carol's web server."""
        bundle = by.build(name, BASE, BASE_MANIFEST + (f'\nrequires = ["{requires}"]' if requires else ""), "1.2")
        data = (by.host.directory / bundle).read_bytes()
        (self.carol.host.directory / "www" / bundle).write_bytes(b"!" + data[1:] if spoilt else data)
        words = ("--module", f"{name}_1.2", "--url", f"http://{self.carol.host.ipv4}:8000/{bundle}")
        entry = ("--bootstrap", self.node.host.ipv4, "--allow-private")
        done = command(by.host, "netserv-discovery", "publish", bundle, *words, "--key", f"{by.user}.pem", *entry)
        assert done.returncode == 0, done

    def greeter(self, name: str, needed: str) -> str:
        """A module of alice that needs another one."""
        return self.alice.build(name, GREETER, GREETER_MANIFEST.format(needed=needed))

    def said(self, by: Host) -> str:
        """What the greeter says at node 1."""
        return by.run("curl", "-s", f"http://{self.node.host.ipv4}:{PORT}/", check=False).stdout

    def nothing_is_left(self) -> None:
        """No module, in no container, and none in the journal."""
        node = self.node
        wait_until(lambda: not node.status().node["modules"], PATIENCE_S, "end of all modules")
        status = node.status().node
        assert status["placed"] == {}
        assert all(not container["modules"] for container in status["containers"])
        with sqlite3.connect(f"file:{node.host.directory}/state-of-node/journal.sqlite?mode=ro", uri=True) as journal:
            for table in ("modules", "dependencies"):
                assert journal.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with laboratory() as lab:
        server, first, second, agent = chain(lab, "server", "node1", "node2", "agent")
        library = lab.host("library", lab.subnets["link1"])
        alice, carol = PublisherHost(server, "alice", agent), PublisherHost(library, "carol", agent)
        publishers = f'[publishers.alice]\nkey = "{alice.public_key}"\nports = ["tcp/{PORT}"]\n'
        rules = f'[dependencies]\nfetch = true\npublishers = {{ carol = "{carol.public_key}" }}\ntimeout_s = 20\n'
        run_mdht(first, "--allow-private")
        (library.directory / "www").mkdir()
        web = library.popen(sys.executable, "-u", "-m", "http.server", "8000", "--directory", "www")
        nodes = [RunningNode(first, publishers + rules, discovery=ADVERTISED), RunningNode(second, publishers)]
        for node in nodes:
            node.ready()
        yield Scene(alice, carol, nodes, web)
        for node in nodes:
            print(f"== {node.host.name}\n{node.process.log}")


def test_what_a_module_needs_is_found_in_the_dht_fetched_and_removed_with_it(scene: Scene) -> None:
    scene.publish(scene.carol, "tests.Lower")
    scene.publish(scene.carol, "tests.Base", requires="tests.Lower")
    found = scene.alice.deploy(scene.greeter("tests.Greeter", "tests.Base>=1.1"), "--ttl", "600")
    assert found[0][:2] == ("node1", 200), found
    assert found[1] == ("node2", 424, "tests.Base>=1.1 is not here")
    assert scene.said(scene.carol.host) == "from the index"
    base = scene.node.module("tests.Base_1.2")
    assert base is not None
    assert (base["state"], base["needed_by"], base["signed_by"]) == ("active", ["tests.Greeter_1.0.0"], "carol")
    assert all(scene.node.container("alice")["walls"].values())
    counted = scene.node.status().counters["dependencies"]
    assert counted == {"searches": 2, "located": 2, "fetched": 2, "failed": 0, "removed": 0}
    done = scene.alice.run("probe", "tests.Base_1.2", "--what", "status")
    assert "as long as it is needed" in done.stdout, done
    refused = scene.alice.remove("tests.Base_1.2")
    assert refused[0] == ("node1", 409, "tests.Base_1.2 is here for tests.Greeter_1.0.0: REMOVE that")
    assert scene.alice.remove("tests.Greeter_1.0.0")[0][:2] == ("node1", 202)
    scene.nothing_is_left()


def test_what_is_not_to_be_had_or_not_believed_is_refused_with_its_cause(scene: Scene) -> None:
    scene.publish(scene.alice, "tests.Strange")  # alice may install modules, and is nobody's library
    scene.publish(scene.carol, "tests.Spoilt", spoilt=True)
    for needed, said in (
        ("tests.Nowhere", "the index has no bundle of it by carol"),
        ("tests.Strange", "the index has no bundle of it by carol; left out: 1 unbelieved"),
        ("tests.Spoilt", "its SHA-256 is"),
    ):
        name = f"tests.Needs{needed.removeprefix('tests.')}"
        (node, code, text), _ = scene.alice.deploy(scene.greeter(name, needed))
        assert (node, code) == ("node1", 424), text
        assert said in text
        assert [module["state"] for module in scene.node.status().node["modules"]] == ["failed"]
        scene.alice.remove(f"{name}_1.0.0")
        scene.nothing_is_left()


def test_after_a_kill_both_are_there_again_with_nobody_to_ask(scene: Scene) -> None:
    scene.publish(scene.carol, "tests.Kept")
    assert scene.alice.deploy(scene.greeter("tests.Keeper", "tests.Kept"), "--ttl", "600")[0][1] == 200
    scene.web.stop()
    scene.node.process.kill()
    scene.node.process.wait()
    scene.node.start()
    scene.node.wait_for("tests.Keeper_1.0.0", "active")
    assert scene.said(scene.carol.host) == "from the index"
    assert scene.node.status().counters["dependencies"]["searches"] == 0
    scene.alice.remove("tests.Keeper_1.0.0")
    scene.nothing_is_left()
