"""The requests of a face to other nodes: each goes to hosts of its node until one answers, or nobody knows any more."""

from collections import Counter
from collections.abc import Callable
from random import Random

from dhtboot.effects import Effect
from dhtboot.ids import Address, NodeRef, id_bytes
from dhtboot.rpc import Asker
from mdht.subnet.face_call import Call
from mdht.subnet.face_calls import CallKey, Calls
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.face_messages import Asked, Carried, WhoIs
from mdht.subnet.face_nodes import NodeTable, pseudo_address
from mdht.subnet.face_pulls import Pulls
from mdht.subnet.face_speech import Speech
from mdht.subnet.hostset import RemoteNode
from mdht.subnet.hostset_choice import Copy
from mdht.subnet.push import Peer


class Requests:
    """Those of one host.

    Args:
        nodes: other nodes, with their hosts.
        speech: makes the datagrams.
        nearest: nodes next to one, of those whose hosts are known, nearest first.
        late: is told of a request of the core when the first hosts were silent; says what to do because of it.
        given_up: likewise, when nobody has answered.
        silent: is told of a node when nobody has answered what somebody else has asked it.
        config: limits.
        rng: chooses hosts.
        counters: of the face.
    """

    def __init__(
        self,
        nodes: NodeTable,
        speech: Speech,
        nearest: Callable[[int], list[NodeRef]],
        late: Callable[[int, float], list[Effect]],
        given_up: Callable[[int, float], list[Effect]],
        silent: Callable[[NodeRef, float], list[Effect]],
        config: FaceConfig,
        rng: Random,
        counters: Counter[str],
    ) -> None:
        self._nodes = nodes
        self._speech = speech
        self._nearest = nearest
        self._late = late
        self._given_up = given_up
        self._silent = silent
        self._config = config
        self._rng = rng
        self._counters = counters
        self._calls = Calls()
        self._pulls = Pulls()

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def targets(self) -> set[Address]:
        """Nodes that are asked something now."""
        return {call.to for call in self._calls}

    def drop_cores(self) -> None:
        """Drop those of the overlay's core, which is another one from now on."""
        self._calls.drop_cores()

    def start(
        self,
        to: Address,
        node: RemoteNode,
        number: int,
        body: Carried | Asked,
        now: float,
        *,
        receipt: bool = False,
        asker: Asker | None = None,
    ) -> list[Effect] | None:
        """Ask a node something; None where too many requests are under way, or this one is already."""
        key = (to, number)
        under_way = self._calls.get(key)
        if (under_way is not None and not under_way.answered) or len(self._calls) >= self._config.calls_max:
            self._counters["calls_refused"] += 1
            return None
        rtt, config, rng = self._nodes.rtt, self._config, self._rng
        call = Call(to, node, body, receipt=receipt, asker=asker, config=config, rtt=rtt, rng=rng)
        self._calls.add(key, call)
        return self._copies(key, call, call.start(now), now)

    def answered(self, key: CallKey, hid: bytes, now: float, *, receipt: bool) -> bool:
        """A response has come for the overlay's core; whether it is to see it."""
        call = self._calls.get(key)
        if call is None or call.receipt is not receipt or call.asker is not None:
            return True  # of a packet that was passed on, or too late: the core knows whether it waits for it
        return self._on_answer(key, call, hid, now)

    def told(self, key: CallKey, hid: bytes, now: float) -> Asker | None:
        """A response has come to somebody else; who waits for it, None where nobody does any more."""
        call = self._calls.get(key)
        if call is None or call.asker is None or not self._on_answer(key, call, hid, now):
            return None
        return call.asker

    def pulled(self, number: int, now: float) -> list[Effect]:
        """A neighbour of a silent node has answered."""
        node = self._pulls.answered(number)
        return [] if node is None else self._pulled(node, now)

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""
        effects: list[Effect] = []
        for node in self._pulls.expired(now):
            effects += self._pulled(node, now)
        for key, call in self._calls.due(now):
            in_time = not call.late
            effects += self._copies(key, call, call.tick(now), now)
            if in_time and call.late and call.asker is None and not call.receipt:
                effects += self._late(key[1], now)
        return effects

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""
        return min(self._calls.next_deadline(), self._pulls.next_deadline())

    # ---- inside --------------------------------------------------------------------------------------------------

    def _on_answer(self, key: CallKey, call: Call, hid: bytes, now: float) -> bool:
        first = call.on_answer(hid, now)
        if not first:
            self._counters["duplicates_suppressed"] += 1
        self._look_at(key, call, now)
        return first

    def _copies(self, key: CallKey, call: Call, copies: list[Copy], now: float) -> list[Effect]:
        """Send copies of a request, and see how it stands with it."""
        self._counters["hosts_asked"] += len(copies)
        node_id = self._nodes.id_of(call.to)
        peers = [] if node_id is None else [Peer(node_id, copy.hid, copy.to) for copy in copies]
        effects: list[Effect] = [self._speech.datagram(call.to, peer, call.body, now) for peer in peers]
        if call.needs_pull and call.to not in self._pulls:
            effects += self._pull(call.to, now)
        return effects + self._look_at(key, call, now)

    def _look_at(self, key: CallKey, call: Call, now: float) -> list[Effect]:
        """When to look at a request again; of one that was given up whoever waits for it must know."""
        if not self._calls.look_at(key, call):
            return []
        self._counters["alternates_used"] += call.alternates
        self._counters["nodes_given_up"] += call.failed
        if not call.failed or call.receipt:
            return []
        if call.asker is None:
            return self._given_up(key[1], now)
        node = NodeRef(self._nodes.id_of(call.to) or 0, call.to)
        call.asker.on_fail(node, now)
        return self._silent(node, now)

    def _pull(self, node: Address, now: float) -> list[Effect]:
        """Ask the neighbours of a silent node for its hosts."""
        node_id = self._nodes.id_of(node)
        self._counters["pulls"] += 1
        number = self._rng.getrandbits(64)
        effects: list[Effect] = []
        most = self._config.pull_nodes if self._config.hosts.pull and node_id is not None else 0
        near = self._nearest(node_id or 0)
        for neighbour_id in self._pulls.next_to_ask(node, [each.id for each in near], most, now):
            hosts = self._nodes.hosts_of(neighbour_id)
            for peer in self._rng.sample(hosts, min(len(hosts), self._config.pull_hosts)):
                body = WhoIs(number=number, node_id=id_bytes(node_id or 0))
                effects.append(self._speech.datagram(pseudo_address(neighbour_id), peer, body, now))
        # Without anybody to ask it expires at once.
        self._pulls.start(node, number, len(effects), now + (self._config.pull_s if effects else 0.0))
        return effects

    def _pulled(self, node: Address, now: float) -> list[Effect]:
        remote = self._nodes.get(node)
        if not self._pulls.end(node, enough=remote is not None and bool(remote.usable), now=now):
            return []
        effects: list[Effect] = []
        for key, call in self._calls.in_need_of(node):
            effects += self._copies(key, call, call.pulled(now), now)
        return effects
