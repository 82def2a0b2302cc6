"""Whatever well-formed packets strangers send, in whatever order: a node stays in order and never fails."""

from random import Random
from typing import Any

import pytest

from dhtboot.chord import messages as chord
from dhtboot.chord.config import ChordConfig
from dhtboot.chord.messages import Packet, Step
from dhtboot.chord.node import ChordNode
from dhtboot.chord.ring import CIRCLE, clockwise
from dhtboot.effects import Effect, Send
from dhtboot.ids import NodeRef, id_bytes

ME = 77
IDS = [1, 50, ME, 100, CIRCLE - 1]
ADDRESSES = [(f"10.0.0.{number}", 1) for number in range(1, 6)]


def any_message(rng: Random) -> Any:
    ref = NodeRef(rng.choice(IDS), rng.choice(ADDRESSES))
    refs = tuple(NodeRef(rng.choice(IDS), rng.choice(ADDRESSES)) for _ in range(rng.randrange(5)))
    target = id_bytes(rng.choice(IDS))
    return rng.choice(
        [
            chord.FindSuccessor(target),
            chord.FindSuccessor(target, tuple(id_bytes(each.id) for each in refs)),
            chord.Successors(refs, rng.choice(list(Step)), rng.randrange(256)),
            chord.Route(target, rng.choice([None, ref]), rng.randrange(256)),
            chord.JoinRequest(rng.choice([None, ref]), rng.randrange(256)),
            chord.JoinReply(rng.choice([None, ref]), rng.random() < 0.5, refs),
            chord.NewSuccessorHint(ref),
            chord.Stabilize(),
            chord.Predecessor(rng.choice([None, ref])),
            chord.Notify(rng.choice([None, ref])),
            chord.Notified(refs),
            chord.Ping(),
            chord.Pong(),
            chord.Tell("note"),
            chord.Leaving(rng.choice([None, ref]), refs),
            chord.Refused(),
        ]
    )


@pytest.mark.parametrize("lookup", ["iterative", "recursive"])
@pytest.mark.parametrize("seed", range(60))
def test_a_node_survives_any_sequence_of_packets(seed: int, lookup: Any) -> None:
    print(f"seed {seed}")
    rng = Random(seed)
    config = ChordConfig(lookup=lookup, join=rng.choice(["aggressive", "standard"]))
    node = ChordNode(ME, config, Random(seed), 0.0)
    sent: list[Effect] = node.join([] if seed % 2 else [NodeRef(0, ADDRESSES[0])], 0.0)
    now = 0.0
    for _ in range(150):
        now += rng.random() * 2.0
        asked = [effect for effect in sent[-6:] if isinstance(effect, Send)]
        request_id = rng.choice([0, 1, *(effect.packet.request_id for effect in asked)])
        source = rng.choice([*ADDRESSES, *(effect.to for effect in asked)])
        sender = rng.choice([b"", *(id_bytes(identifier) for identifier in IDS)])
        sent += node.receive(Packet(sender, request_id, any_message(rng)), source, now)
        if node.next_deadline() <= now:
            sent += node.tick(now)
        assert node.next_deadline() > now
        successors = [clockwise(ME, other.id) for other in node.neighbours.successors.nodes]
        assert successors == sorted(set(successors))
        assert 0 not in successors
        assert len(successors) <= config.successors
        assert all(node.neighbours.predecessor != NodeRef(ME, address) for address in ADDRESSES)
    assert node.counters["without_sender"] > 0


def test_a_flood_of_joins_costs_no_more_than_an_answer_each() -> None:
    node = ChordNode(ME, ChordConfig(), Random(1), 0.0)
    node.join([], 0.0)
    rng = Random(2)
    sent = 0
    for number in range(1000):
        joiner = id_bytes(rng.getrandbits(160))
        sent += len(
            node.receive(Packet(joiner, 7, chord.JoinRequest(None, 0)), (f"10.1.{number >> 8}.{number & 255}", 1), 0.0)
        )
    assert sent <= 4000
    assert len(node.neighbours.successors.nodes) <= 8
    assert len(node.rpc) <= ChordConfig().pending_max
