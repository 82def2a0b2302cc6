"""Packets through modules, on a path of sender, node and receiver: every plane does the same."""

import itertools
import json
import os
import sys
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
DEADLINE_S = 0.5
"A busy machine may keep a good container from answering within the 5 ms that are usual."
OTHER = 5061
"Nobody asks for packets to it."
FAMILIES = pytest.mark.parametrize("version", [4, 6])


class Scene:
    """Sender, node and receiver."""

    def __init__(self, hosts: list[Host], plane: str, compiled: bool, **settings: int) -> None:
        self.sender_host, self.router, self.receiver_host = hosts
        self.plane, self.compiled = plane, compiled
        self.sender, self.receiver = (
            told(hosts[0], "packet_peer.py", "4000", "4001"),
            told(hosts[2], "packet_peer.py", str(PORT), str(OTHER)),
        )
        self.node = self.start_node(**settings)
        self.texts = itertools.count(1)
        self.numbers: list[int] = []
        self.boxes = itertools.count(1)
        self.restarts = 0

    def start_node(self, **settings: int) -> Told:
        settings = {"compiled": self.compiled, **settings}
        node = told(self.router, "packet_node.py", self.plane, json.dumps({"deadline_s": DEADLINE_S, **settings}))
        (ready,) = node.events("ready")
        assert (ready["plane"], ready["compiled"]) == (self.plane, self.compiled)
        return node

    def end(self) -> None:
        for each in (self.node, self.sender, self.receiver):
            each.end()

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
        assert self.node.do("unbox")["ended"] == [], "a container has ended by itself"
        self.numbers.clear()
        assert self.node.do("counters")["restarts"] == self.restarts, "the broker has died"

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

    def wait_count(self, number: int, **wanted: int) -> dict[str, int]:
        """Wait until counters of a filter are so many at least."""

        def look() -> dict[str, int]:
            counted = self.counters(number)
            return counted if all(counted[name] >= value for name, value in wanted.items()) else {}

        return wait_until(look, PATIENCE_S, f"{wanted} of filter {number}", lambda: str(self.counters(number)))

    def kill_broker(self) -> None:
        """And wait until the next one has all filters."""
        self.router.run("kill", "-9", str(self.node.do("counters")["broker"]))
        self.restarts += 1
        wait_until(lambda: self.node.do("counters").get("restarts", 0) == self.restarts, PATIENCE_S, "new broker")
        wait_until(lambda: "filters" in self.node.do("counters"), PATIENCE_S, "its filters")

    def never(self, payload: str) -> None:
        """It has not come, though what was sent after it has."""
        marker = f"marker{next(self.texts)} {{}}"
        self.arrives(self.send(4, marker, port=OTHER))
        assert not [each for each in self.receiver.events("received") if each["payload"] == payload]

    def left(self) -> str:
        """What the kernel of the node has of us."""
        rules = [self.router.run(program, "-t", "mangle", "-S").stdout for program in ("iptables", "ip6tables")]
        programs = [line for line in self.router.run("ip", "-o", "link").stdout.splitlines() if "xdp" in line]
        queues = self.router.run("cat", "/proc/net/netfilter/nfnetlink_queue").stdout
        return (
            "\n".join([line for text in rules for line in text.splitlines() if "NETSERV" in line] + programs) + queues
        )


WAYS = [("netfilter", False), ("netfilter", True), ("xdp", True)]


def named(way: tuple[str, bool]) -> str:
    return f"{way[0]}-{'compiled' if way[1] else 'python'}"


ALL_WAYS = pytest.mark.parametrize("all_scene", [*WAYS, ("xdp+stack", True)], ids=named, indirect=True, scope="module")
"For what `xdp+stack` does otherwise than `xdp`; what comes before a verdict is the same code."


@pytest.fixture(scope="module", params=WAYS, ids=named)
def all_scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    plane, compiled = request.param
    with laboratory() as lab:
        found = Scene(chain(lab, "sender", "node", "receiver"), plane, compiled)
        yield found
        found.end()


@pytest.fixture
def scene(all_scene: Scene) -> Iterator[Scene]:
    yield all_scene
    all_scene.clear()


@ALL_WAYS
@FAMILIES
def test_what_a_module_accepts_goes_on_as_it_came(scene: Scene, version: int) -> None:
    number, _ = scene.install("accept", version)
    text = scene.send(version)
    arrived = scene.arrives(text)
    assert arrived["ttl"] == 63
    assert arrived["source"] == scene.address(scene.sender_host, version)
    assert scene.counters(number)["accepted"] == 1
    assert scene.counters(number)["bytes"] == len(text) + (28 if version == 4 else 48)


@ALL_WAYS
def test_rules_of_the_operator_see_what_a_module_accepts_but_with_xdp(scene: Scene) -> None:
    number, _ = scene.install("accept")
    # The interface by which it came, and a TTL less by one.
    rule = ["FORWARD", "-i", "eth0", "-p", "udp", "--dport", str(PORT), "-m", "ttl", "--ttl-eq", "63", "-j", "DROP"]
    scene.router.run("iptables", "-I", *rule)
    try:
        text = scene.send()
        scene.wait_count(number, accepted=1)
        if scene.plane == "xdp":
            scene.arrives(text)
        else:
            scene.never(text)
        seen = scene.router.run("iptables", "-vnxL", "FORWARD").stdout.splitlines()[2].split()[0]
        assert int(seen) == (scene.plane != "xdp")
    finally:
        scene.router.run("iptables", "-D", *rule)
    assert scene.arrives(scene.send())["ttl"] == 63
    assert scene.counters(number)["packets"] == 2, "what was given back has come again"


@FAMILIES
def test_what_it_drops_goes_nowhere(scene: Scene, version: int) -> None:
    number, _ = scene.install("drop", version)
    text = scene.send(version)
    scene.wait_count(number, dropped=1)
    scene.never(text)


@ALL_WAYS
@FAMILIES
def test_what_it_changes_goes_on_changed_with_right_checksums(scene: Scene, version: int) -> None:
    number, _ = scene.install("change", version)
    arrived = scene.arrives(scene.send(version).upper() + "!")
    assert arrived["ttl"] == 63
    assert scene.counters(number)["changed"] == 1


@ALL_WAYS
@FAMILIES
@pytest.mark.parametrize("behaviour", ["reply", "turn"])
def test_a_module_answers_for_the_server(scene: Scene, version: int, behaviour: str) -> None:
    number, _ = scene.install(behaviour, version)
    text = scene.send(version)
    arrived = scene.arrives(f"answer to {text}", scene.sender)
    assert (arrived["source"], arrived["source_port"]) == (scene.address(scene.receiver_host, version), PORT)
    counted = scene.wait_count(number, injected=1) if behaviour == "reply" else scene.wait_count(number, changed=1)
    assert counted["refused"] == 0
    scene.never(text)


@pytest.mark.parametrize("behaviour", ["sleep", "loop", "garbage"])
def test_packets_of_a_module_that_fails_pass_or_are_dropped_by_its_policy(scene: Scene, behaviour: str) -> None:
    why = "rubbish" if behaviour == "garbage" else "late"
    number, _ = scene.install(behaviour)
    scene.arrives(scene.send())
    assert scene.counters(number)[why] == 1
    scene.clear()
    number, _ = scene.install(behaviour, policy="closed")
    text = scene.send()
    scene.wait_count(number, **{why: 1})
    scene.never(text)


@pytest.mark.heavy
@pytest.mark.parametrize("behaviour", ["sleep", "scribble", "twice"])
def test_a_bad_container_hurts_nobody_else(scene: Scene, behaviour: str) -> None:
    bad, _ = scene.install(behaviour)
    good, _ = scene.install("change", ports=[OTHER])
    scene.sender.write(to=scene.receiver_host.ipv4, port=PORT, payload="flood {}", times=1_000, pause=0.0001)
    texts = [scene.send(port=OTHER) for _ in range(10)]
    for text in texts:
        scene.arrives(text.upper() + "!")
    assert scene.counters(good)["changed"] == 10
    assert scene.counters(bad)["packets"] == 1_000
    decided = ("accepted", "changed", "late", "full", "rubbish", "refused", "dropped")

    def look() -> bool:
        counted = scene.counters(bad)
        return sum(counted[name] for name in decided) == 1_000

    wait_until(look, PATIENCE_S, "verdict on each packet", lambda: str(scene.counters(bad)))


@pytest.mark.heavy
def test_a_full_ring_is_no_hindrance(scene: Scene) -> None:
    number, _ = scene.install("sleep", slots=4)
    for text in [scene.send() for _ in range(10)]:
        scene.arrives(text)
    counted = scene.counters(number)
    assert (counted["late"], counted["full"]) == (4, 6)


@FAMILIES
@pytest.mark.parametrize("behaviour", ["redirect", "spoof", "source_route", "version", "longer"])
def test_what_a_module_may_not_send_is_refused(scene: Scene, version: int, behaviour: str) -> None:
    allowed = ["10.2.0.2/32"] if version == 4 else ["2001:db8:2::2/128"]
    source = {"source": "10.1.0.2/32" if version == 4 else "2001:db8:1::2/128"}
    destination = allowed[0]
    number, _ = scene.install(behaviour, version, allowed=allowed, destination=destination, **source)
    text = scene.send(version)
    scene.arrives(text)
    assert scene.counters(number)["refused"] == 1
    assert not [each for each in scene.sender.events("received") if each["payload"] == text]


@FAMILIES
def test_only_what_the_prematch_wants_goes_to_the_module(scene: Scene, version: int) -> None:
    number, _ = scene.install("change", version, prematch=[[0, "NOTIFY sip:"], [2, "!"], [7, "abcdefgh"]])
    source = scene.address(scene.sender_host, version)
    for text in ("NOTIFY sip:a", "so!", "1234567abcdefgh"):
        assert scene.arrives(scene.send(version, text).upper() + "!", source=source)
    for text in ("NOTIFY sip;a", "NOTIFY sip", "so?", "x", "1234567abcdefg", "notify sip:a"):
        scene.arrives(scene.send(version, text), source=source)
    counted = scene.counters(number)
    assert (counted["packets"], counted["changed"]) == (3, 3)


@FAMILIES
def test_the_reverse_flow_goes_to_the_module_where_it_is_asked_for(scene: Scene, version: int) -> None:
    ends = [scene.address(each, version) for each in (scene.receiver_host, scene.sender_host)]
    for reverse in (False, True):
        number, _ = scene.install("accept", version, reverse=reverse)
        text = f"back{next(scene.texts)}"
        scene.receiver.write(to=ends[1], port=4_000, payload=text)
        assert scene.arrives(text, scene.sender)["source"] == ends[0]
        assert scene.counters(number)["accepted"] == reverse
        scene.clear()


@ALL_WAYS
def test_a_packet_goes_to_all_modules_that_want_it_in_turn(scene: Scene) -> None:
    first, _ = scene.install("change")
    second, _ = scene.install("change", destination="10.2.0.2/32")
    third, _ = scene.install("accept", destination="10.0.0.0/8")
    assert scene.arrives(scene.send().upper() + "!!")
    assert [scene.counters(each)["changed"] for each in (first, second, third)] == [1, 1, 0]
    assert scene.counters(third)["accepted"] == 1


@ALL_WAYS
def test_packets_pass_while_a_container_is_away_and_go_to_the_next_one(scene: Scene) -> None:
    number, box = scene.install("change")
    scene.arrives(scene.send().upper() + "!")
    scene.node.do("unbox", name=box)
    scene.node.do("attach", number=number)
    scene.arrives(scene.send())
    assert scene.counters(number)["absent"] == 1
    scene.node.do("box", name="another", behaviour="change")
    scene.node.do("attach", number=number, box="another")
    scene.arrives(scene.send().upper() + "!")


def test_a_filter_out_of_bounds_is_refused(scene: Scene) -> None:
    for order in (
        {"ports": [270], "destination": "10.2.0.0/24"},
        {"ports": [], "destination": "10.2.0.0/24"},
        {"ports": [5], "proto": "icmp", "destination": "10.2.0.0/24"},
        {"ports": [5], "destination": "10.2.0.0/24", "source": "2001:db8::/32"},
        {"ports": [5], "destination": "10.2.0.0/24", "prematch": [[300, "x"]]},
    ):
        assert "error" in scene.node.do("install", **order)
    assert "error" in scene.node.do("remove", number=4_711)


def let_leave_by_xdp(scene: Scene) -> None:
    """Frames of XDP can leave only where the other end polls, and checksums left to hardware are the kernel's."""
    lab, far = scene.router.lab, scene.router.interfaces["eth1"].namespace
    offload = [sys.executable, "-m", "netserv.bench.ethtool"]
    for namespace, *words in ((far, "gro", "p1"), (scene.sender_host.namespace, "checksums", "eth0")):
        lab.run([*lab.entry(namespace), *offload, *words], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})


def forwarded(scene: Scene) -> tuple[str, str]:
    """What the kernel's stack has forwarded at the node, of both IP versions."""
    names, values = scene.router.run("cat", "/proc/net/snmp").stdout.splitlines()[:2]
    six = scene.router.run("grep", "Ip6OutForwDatagrams", "/proc/net/snmp6").stdout.split()[1]
    return values.split()[names.split().index("ForwDatagrams")], six


class Monitored:
    """Two flows of different TTL, and what NetMonitor has to have counted of them."""

    def __init__(self, scene: Scene, version: int, path: Path, policy: str = "open") -> None:
        self.scene, self.version = scene, version
        self.number, self.box = scene.install(f"count {path}", version, policy=policy)
        self.path, self.arrived = path, flooded(scene)
        self.wanted = dict.fromkeys((f"{ttl} {scene.address(scene.sender_host, version)}" for ttl in (64, 9)), 0)

    def send(self, times: int) -> None:
        to = self.scene.address(self.scene.receiver_host, self.version)
        for by, flow in enumerate(self.wanted):
            order = {"to": to, "port": PORT, "payload": "flood {}", "pause": 0.0001, "by": by}
            self.scene.sender.write(**order, times=times, ttl=int(flow.split()[0]))
            self.wanted[flow] += times
            self.arrived += times
        what = f"{self.arrived} packets"
        wait_until(lambda: flooded(self.scene) == self.arrived, PATIENCE_S, what, lambda: str(flooded(self.scene)))

    def told(self) -> None:
        """All of them have been counted, and none twice."""

        def found() -> dict[str, int]:
            return dict(json.loads(self.path.read_text(encoding="ascii"))) if self.path.exists() else {}

        wait_until(lambda: found() == self.wanted, PATIENCE_S, f"counts {self.wanted}", lambda: str(found()))


@ALL_WAYS
@FAMILIES
def test_netmonitor_counts_each_packet_once_whoever_sees_it(scene: Scene, version: int, tmp_path: Path) -> None:
    flows = Monitored(scene, version, tmp_path / "counts")
    flows.send(200)
    flows.send(200)  # by the kernel's stack, where this is the first test that lets packets leave by XDP
    if scene.plane == "xdp":
        let_leave_by_xdp(scene)
    flows.send(200)
    flows.told()
    counted = scene.counters(flows.number)
    assert counted["packets"] == counted["accepted"] + counted["cached"] == 1_200
    assert counted["cached"] > 600 or scene.plane == "netfilter"
    flows.send(50)
    scene.node.do("remove", number=flows.number)
    flows.told()
    scene.numbers.remove(flows.number)
    another, _ = scene.install("accept", version)
    flows.send(1)
    assert scene.counters(another)["accepted"] == 2, "the kernel knows no flow any more"


@pytest.mark.heavy
def test_more_flows_than_the_kernel_counts_are_counted_all_the_same(scene: Scene, tmp_path: Path) -> None:
    flows, most, count = Monitored(scene, 4, tmp_path / "counts"), 4_096, 4_500
    del flows.wanted[next(flow for flow in flows.wanted if flow.startswith("9 "))]
    (flow,) = flows.wanted
    for _ in range(3):
        to = scene.receiver_host.ipv4
        scene.sender.write(to=to, port=PORT, payload="flood", from_ports=[20_000, 20_000 + count])
        flows.wanted[flow] += count
        flows.arrived += count
        flows.send(0)
    flows.told()
    assert scene.counters(flows.number)["cached"] == (2 * most if scene.plane != "netfilter" else 0)


def test_flows_that_the_kernel_has_forgotten_are_counted_anew_and_each_packet_once(tmp_path: Path) -> None:
    flows_max, count, twice = 64, 300, 10
    with laboratory() as lab:
        scene = Scene(chain(lab, "sender", "node", "receiver"), "xdp", True, flows_max=flows_max)
        flows = Monitored(scene, 4, tmp_path / "counts")
        del flows.wanted[next(flow for flow in flows.wanted if flow.startswith("9 "))]
        (flow,) = flows.wanted
        for turn in range(1, 5):
            for first in (0, count - twice):  # some come twice, before others have them forgotten
                ports = [20_000 + first, 20_000 + count]
                scene.sender.write(to=scene.receiver_host.ipv4, port=PORT, payload="flood", from_ports=ports)
                flows.wanted[flow] += count - first
                flows.arrived += count - first
                flows.send(0)
            assert scene.counters(flows.number)["accepted"] >= turn * (count - flows_max), "none was forgotten"
        flows.told()
        counted = scene.counters(flows.number)
        assert counted["packets"] == counted["accepted"] + counted["cached"] == flows.wanted[flow]
        assert counted["cached"] > 0
        scene.clear()
        scene.end()


def test_with_policy_closed_nothing_passes_without_a_container_nor_does_a_flow_accepted_earlier(
    scene: Scene, tmp_path: Path
) -> None:
    flows = Monitored(scene, 4, tmp_path / "counts", policy="closed")
    flows.send(20)
    flows.send(20)
    scene.node.do("attach", number=flows.number)
    before = scene.counters(flows.number)
    assert before["cached"] > 0 or scene.plane == "netfilter"
    text = scene.send()
    scene.wait_count(flows.number, absent=1)
    scene.never(text)
    assert scene.counters(flows.number)["cached"] == before["cached"]
    scene.node.do("attach", number=flows.number, box=flows.box)
    flows.send(20)  # the flow of `text` is one of them
    flows.told()


def test_counts_outlive_container_and_broker(scene: Scene, tmp_path: Path) -> None:
    flows = Monitored(scene, 4, tmp_path / "counts")
    flows.send(50)
    flows.told()
    if scene.plane != "netfilter":
        scene.node.do("unbox", name=flows.box)
        scene.node.do("attach", number=flows.number)
        flows.wanted, flows.path = dict.fromkeys(flows.wanted, 0), tmp_path / "of the next one"
        flows.send(50)  # while nobody is there
        scene.node.do("box", name="next", behaviour=f"count {flows.path}")
        scene.node.do("attach", number=flows.number, box="next")
        flows.told()
    scene.kill_broker()
    flows.send(50)
    flows.told()


@ALL_WAYS
@FAMILIES
def test_a_flow_accepted_for_good_is_forwarded_by_the_kernel_until_the_filter_goes(scene: Scene, version: int) -> None:
    number, _ = scene.install("flow", version)
    if scene.plane == "xdp":
        let_leave_by_xdp(scene)

    def look() -> bool:
        text = scene.send(version)
        assert scene.arrives(text)["ttl"] == 63
        return scene.counters(number)["cached"] >= 3 or scene.plane == "netfilter"

    wait_until(look, PATIENCE_S, "packets forwarded by the kernel", lambda: str(scene.counters(number)))
    counted = scene.counters(number)
    assert counted["packets"] == counted["accepted"] + counted["cached"]

    def unseen() -> bool:
        before = forwarded(scene)
        look()
        return forwarded(scene) == before

    if scene.plane == "xdp":  # which looks once a second how packets can leave
        wait_until(unseen, PATIENCE_S, "a packet that the kernel's stack has not seen")
    else:
        assert not unseen()
    scene.clear()
    number, _ = scene.install("flow", version)  # what an earlier filter has left in the kernel does not hinder the next
    wait_until(look, PATIENCE_S, "packets forwarded by the kernel again", lambda: str(scene.counters(number)))
    scene.clear()
    another, _ = scene.install("change", version)
    scene.arrives(scene.send(version).upper() + "!")
    assert scene.counters(another)["changed"] == 1


@pytest.mark.heavy
def test_filters_come_and_go_a_thousand_times_under_traffic_and_nothing_else_is_lost(scene: Scene) -> None:
    # Rules are changed by the same commands whether packets are treated in C or in Python: a thousand times in both.
    hundreds = 10 if scene.plane == "xdp" else 8 if scene.compiled else 2
    scene.node.do("box", name="churned", behaviour="accept")
    before, number = flooded(scene), next(scene.texts)
    scene.sender.write(to=scene.receiver_host.ipv4, port=OTHER, payload="flood {}", until_told=number)
    for hundred in range(hundreds):
        if hundred == hundreds // 2:  # from now on they are asked for
            accepting, _ = scene.install("accept", ports=[OTHER])
        scene.node.do("churn", box="churned", port=PORT, destination="10.2.0.0/24", times=100)
    scene.sender.write(tell=number)
    sent = int(scene.sender.wait("sent", until_told=number)[0]["sent"])
    assert sent > 2_000
    assert scene.counters(accepting)["packets"] > 500
    wait_until(lambda: flooded(scene) - before >= sent, PATIENCE_S, "flood", lambda: f"{flooded(scene)} of {sent}")


def flooded(scene: Scene) -> int:
    number = next(scene.texts)
    scene.receiver.write(tell=number)
    counted = scene.receiver.wait("counted", tell=number)[0]["counted"]
    return int(counted.get("flood", 0))


def test_a_broker_that_is_killed_is_started_anew_with_all_filters(scene: Scene) -> None:
    number, _ = scene.install("change")
    scene.arrives(scene.send().upper() + "!")
    scene.kill_broker()
    scene.arrives(scene.send().upper() + "!")
    assert scene.counters(number)["changed"] == 1


def test_nothing_is_left_of_a_node_that_is_killed_or_ends(all_scene: Scene) -> None:
    scene = all_scene
    assert scene.left()
    scene.install("sleep", policy="closed")
    broker = scene.node.do("counters")["broker"]
    scene.node.kill()
    wait_until(lambda: not scene.left(), PATIENCE_S, "clean kernel", scene.left)
    wait_until(lambda: not Path(f"/proc/{broker}").exists(), PATIENCE_S, "end of the broker")
    scene.arrives(scene.send())
    scene.numbers.clear()
    scene.restarts = 0
    scene.node = scene.start_node()
    scene.install("change", policy="closed")
    scene.arrives(scene.send().upper() + "!")
    # All of it killed at once: the next node begins by removing what was left.
    broker = scene.node.do("counters")["broker"]
    scene.node.kill(broker)
    wait_until(lambda: not Path(f"/proc/{broker}").exists(), PATIENCE_S, "end of the broker")
    scene.arrives(scene.send())
    scene.numbers.clear()
    scene.node = scene.start_node()
    scene.arrives(scene.send())
    scene.install("accept")
    scene.node.end()
    assert scene.node.process.returncode == 0
    assert not scene.left()
    scene.numbers.clear()
    scene.node = scene.start_node()
