"""What a node holds is bounded, whatever comes."""

from random import Random

import msgspec
import pytest

from netserv.signaling.gist.addresses import packed
from netserv.signaling.gist.objects.mri import Direction, LooseEndMri
from netserv.signaling.gist.service import LastBy, RecvMessage, SendMessage
from netserv.signaling.nslp.config import NslpConfig
from netserv.signaling.nslp.effects import NslpEffect
from netserv.signaling.nslp.node import NslpNode, flow_mri
from netserv.signaling.nslp.requests import Probe, encode
from netserv.signaling.nslp.responses import decode
from netserv.signaling.nslp.text import padded
from tests.netserv.signaling.nslp.memory_path import RECEIVER, SENDER, Accepting, Path, probe, setup

SMALL = NslpConfig(pending_max=50, pending_of_source_max=20, kept_max=30, public_probes=True, thesis_mode=True)


def flood(node: NslpNode, count: int, *, source: bytes | None = None, at: float = 0.0) -> list[NslpEffect]:
    effects: list[NslpEffect] = []
    for number in range(count):
        mri = flow_mri(source or packed(f"10.{number % 200}.0.1"), RECEIVER)
        data = padded(encode(Probe(items=("status",), others=(("x-number", f"{at}-{number}"),))))
        message = RecvMessage(nslp_id=32704, sid=number.to_bytes(16, "big"), mri=mri, data=data, hops=31)
        effects += node.received(message, at)
    return effects


def test_requests_that_nobody_answers_do_not_pile_up() -> None:
    path = Path(Accepting(), config=SMALL)
    node = path.node(1)
    effects = flood(node, 1_000)
    status = node.status()
    assert status.waiting == 50
    assert status.counters.overload == 950
    assert sum(isinstance(effect, SendMessage) for effect in effects) == 1_000  # all are sent on
    now = 0.0
    while (now := node.next_deadline()) < 1_000.0:
        node.tick(now)
    status = node.status()
    assert (status.waiting, status.kept, status.sessions) == (0, 0, 0)
    assert not node._relay._due._at


def test_one_source_does_not_shut_out_the_others() -> None:
    node = Path(Accepting(), config=SMALL).node(1)
    flood(node, 100, source=packed("192.0.2.1"))
    assert node.status().waiting == 20
    flood(node, 1)
    assert node.status().waiting == 21


def test_answered_ones_make_room_for_younger_ones() -> None:
    path = Path(Accepting(), config=SMALL)
    for number in range(100):
        path.ask(Probe(items=("status",), others=(("x-number", str(number)),)))
        path.run(path.now + 0.01)
    assert len(path.done) == 100
    status = path.node(1).status()
    assert (status.waiting, status.kept) == (0, 30)
    path.run(path.now + 100.0)
    assert path.node(1).status().kept == 0


@pytest.mark.parametrize("ending", ["response", "last node"])
def test_a_request_that_was_only_sent_on_says_so(ending: str) -> None:
    config = NslpConfig(pending_max=1, pending_of_source_max=1)
    path = Path(Accepting(), Accepting(), config=config)
    if ending == "last node":
        path.nodes[2] = None
    silent = path.sender.ask(probe(), source=packed("192.0.2.1"), destination=RECEIVER, reliable=True, now=0.0)
    message = silent[0]
    assert isinstance(message, SendMessage)
    path.node(1).received(RecvMessage(nslp_id=32704, sid=message.sid, mri=message.mri, data=message.data, hops=31), 0.0)
    path.ask(probe())
    path.run(1.0)
    stack = path.answer.response.nearest_first()
    assert (stack[0].node_id, stack[0].code) == ("n1", 429)
    assert "try again later" in stack[0].text
    assert stack[-1].last_by is LastBy.ICMP


def test_an_overloaded_end_says_so_at_once() -> None:
    node = Path(Accepting(), config=msgspec.structs.replace(SMALL, pending_max=0)).node(1)
    message = RecvMessage(
        nslp_id=32704,
        sid=bytes(16),
        mri=flow_mri(SENDER, RECEIVER),
        data=padded(encode(probe())),
        to_flow_endpoint=True,
    )
    effects = node.received(message, 0.0)
    assert len(effects) == 1
    assert isinstance(effects[0], SendMessage)
    assert decode(effects[0].data).code == 429
    assert effects[0].mri.direction == Direction.UPSTREAM


def test_responses_that_nobody_asked_for_leave_nothing_behind() -> None:
    node = Path(Accepting()).node(1)
    mri = msgspec.structs.replace(flow_mri(SENDER, RECEIVER), direction=Direction.UPSTREAM)
    for number in range(500):
        data = padded(f"RESPONSE * NETSERV/0.1\nrequest:{number:032x}\ncode:200\n\n".encode())
        message = RecvMessage(nslp_id=32704, sid=number.to_bytes(16, "big"), mri=mri, data=data)
        assert node.received(message, 0.0) == []
    assert node.counters.unasked == 500
    assert node.status().sessions == 0


@pytest.mark.parametrize("seed", range(5))
def test_any_bytes_at_any_time_are_survived(seed: int) -> None:
    rng = Random(seed)
    path = Path(Accepting(), Accepting(), config=SMALL)
    texts = [encode(probe()), encode(setup()), b"RESPONSE * NETSERV/0.1\nrequest:" + b"0" * 32 + b"\ncode:200\n\n"]
    mris = [flow_mri(SENDER, RECEIVER), LooseEndMri(source=SENDER, destination=RECEIVER)]
    mris += [msgspec.structs.replace(mri, direction=Direction.UPSTREAM) for mri in mris]
    for _ in range(2_000):
        text = bytearray(rng.choice(texts))
        for _ in range(rng.randrange(4)):
            text[rng.randrange(len(text))] = rng.randrange(256)
        data = bytes(text) if rng.random() < 0.9 else rng.randbytes(rng.randrange(99))
        path.now += rng.random() * 0.2
        message = RecvMessage(
            nslp_id=32704,
            sid=rng.choice([bytes(16), b"\1" * 16]),
            mri=rng.choice(mris),
            data=padded(data),
            hops=rng.randrange(33),
            to_flow_endpoint=rng.random() < 0.1,
        )
        node = path.node(1)
        effects = node.received(message, path.now) + node.tick(path.now)
        assert all(len(effect.data) <= 16_384 for effect in effects if isinstance(effect, SendMessage))
    path.run(path.now + 300.0)
    status = path.node(1).status()
    assert (status.waiting, status.kept, status.sessions) == (0, 0, 0)
