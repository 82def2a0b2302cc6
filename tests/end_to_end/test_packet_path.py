"""Packets through modules, on a path of sender, node and receiver: every plane does the same."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.sites import PATIENCE_S, laboratory
from tests.end_to_end.told import Told, told
from tools.netlab import Host, wait_until
from tools.netlab_chain import chain

pytestmark = pytest.mark.lab
HERE = Path(__file__).parent
PORT = 5060
FAMILIES = pytest.mark.parametrize("version", [4, 6])


class Scene:
    """Sender, node and receiver."""

    def __init__(self, hosts: list[Host], plane: str, compiled: bool) -> None:
        self.sender_host, self.router, self.receiver_host = hosts
        self.plane, self.compiled = plane, compiled
        self.sender, self.receiver = (
            told(hosts[0], "packet_peer.py", "4000"),
            told(hosts[2], "packet_peer.py", str(PORT)),
        )
        self.node = self.start_node()
        self.texts = itertools.count(1)
        self.numbers: list[int] = []
        self.boxes = itertools.count(1)

    def start_node(self) -> Told:
        node = told(self.router, "packet_node.py", self.plane, json.dumps({"compiled": self.compiled}))
        (ready,) = node.events("ready")
        assert (ready["plane"], ready["compiled"]) == (self.plane, self.compiled)
        return node

    def address(self, host: Host, version: int) -> str:
        found = host.ipv4 if version == 4 else host.ipv6
        assert found is not None
        return found

    def install(self, behaviour: str, version: int = 4, *, slots: int = 512, **order: Any) -> tuple[int, str]:
        box = f"box{next(self.boxes)}"
        self.node.do("box", name=box, behaviour=behaviour, slots=slots)
        destination = "10.2.0.0/24" if version == 4 else "2001:db8:2::/64"
        done = self.node.do("install", box=box, **{"ports": [PORT], "destination": destination, **order})
        assert "number" in done, done
        self.numbers.append(done["number"])
        return done["number"], box

    def clear(self) -> None:
        for number in self.numbers:
            self.node.do("remove", number=number)
        self.numbers.clear()

    def send(self, version: int = 4, text: str = "", times: int = 1, port: int = PORT) -> str:
        text = text or f"text{next(self.texts)} {{}}"
        self.sender.write(to=self.address(self.receiver_host, version), port=port, payload=text, times=times)
        return text.format(0)

    def counters(self, number: int) -> dict[str, int]:
        counted = self.node.do("counters")["filters"][str(number)]
        assert isinstance(counted, dict)
        return counted

    def arrives(self, payload: str, at: Told | None = None, **values: Any) -> dict[str, Any]:
        return (at or self.receiver).wait("received", payload=payload, **values)[0]

    def never(self, payload: str) -> None:
        """It has not come, though what was sent after it has."""
        self.send_past()
        assert not [each for each in self.receiver.events("received") if each["payload"] == payload]

    def send_past(self) -> None:
        """A datagram to another port of the same machine: refused there, so it is watched for by its own."""
        self.router.run("true")
        wait_until(lambda: True, 1, "nothing")


WAYS = [("netfilter", False), ("netfilter", True), ("xdp", True)]


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: f"{way[0]}-{'compiled' if way[1] else 'python'}")
def all_scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    plane, compiled = request.param
    with laboratory() as lab:
        found = Scene(chain(lab, "sender", "node", "receiver"), plane, compiled)
        yield found
        found.node.end()
        found.sender.end()
        found.receiver.end()


@pytest.fixture
def scene(all_scene: Scene) -> Iterator[Scene]:
    yield all_scene
    all_scene.clear()


@FAMILIES
def test_what_a_module_accepts_goes_on_as_it_came(scene: Scene, version: int) -> None:
    number, _ = scene.install("accept", version)
    text = scene.send(version)
    arrived = scene.arrives(text)
    assert arrived["ttl"] == 63
    assert arrived["source"] == scene.address(scene.sender_host, version)
    assert scene.counters(number)["accepted"] == 1
    assert scene.counters(number)["bytes"] == len(text) + (28 if version == 4 else 48)


@FAMILIES
def test_what_it_drops_goes_nowhere(scene: Scene, version: int) -> None:
    number, _ = scene.install("drop", version)
    text = scene.send(version)
    wait_until(lambda: scene.counters(number)["dropped"] == 1, PATIENCE_S, "drop")
    scene.clear()
    scene.arrives(scene.send(version))
    assert text not in {each["payload"] for each in scene.receiver.events("received")}


@FAMILIES
def test_what_it_changes_goes_on_changed_with_right_checksums(scene: Scene, version: int) -> None:
    number, _ = scene.install("change", version)
    arrived = scene.arrives(scene.send(version).upper() + "!")
    assert arrived["ttl"] == 63
    assert scene.counters(number)["changed"] == 1
