import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.signaling.handler import Answer, Arrival, Handler, InterfaceFacts, NodeFacts, RecordingHandler
from netserv.signaling.nslp.codes import Code, NslpError
from netserv.signaling.nslp.requests import Probe, Remove
from tests.netserv.signaling.nslp.memory_path import ALICE, MODULE, PUBLISHERS, TO_RECEIVER, probe, setup, trigger

ARRIVAL = Arrival(flow=TO_RECEIVER, session=bytes(16))
FACTS = NodeFacts(
    interfaces=(InterfaceFacts("eth0", ("10.0.1.1/24", "2001:db8::1/64")), InterfaceFacts("eth1", ("10.0.2.1/24",))),
    uptime_s=3_605.4,
    load=(0.14, 0.47, 1.0),
    policy=(("public-probes", "no"), ("thesis-mode", "no")),
    blocks=("dispatcher", "timers"),
)


def test_a_probe_is_answered_from_facts_in_its_order() -> None:
    handler: Handler = RecordingHandler(PUBLISHERS, FACTS)
    request = probe("load", "status", "address", "weather", "capabilities", "policy", "modules", "blocks", "moon")
    answer = handler.handle(request, ARRIVAL, 1.0)
    assert answer.code == Code.OK
    assert answer.lines == (
        ("load", "0.14 0.47 1.00"),
        ("status", "signalling only, up 3605 s"),
        ("addresses", "eth0 10.0.1.1/24,eth0 2001:db8::1/64,eth1 10.0.2.1/24"),
        ("capabilities", "signalling"),
        ("policy", "public-probes=no,thesis-mode=no"),
        ("modules", ""),
        ("blocks", "dispatcher,timers"),
        ("unsupported", "weather,moon"),
    )


def test_facts_that_are_too_many_are_cut_at_a_comma() -> None:
    many = tuple(InterfaceFacts(f"veth{number}", (f"10.0.{number}.1/24",)) for number in range(250))
    handler = RecordingHandler(PUBLISHERS, NodeFacts(interfaces=many))
    answer = handler.handle(probe("address"), ARRIVAL, 1.0)
    value = answer.lines[0][1]
    assert value.endswith("/24,...")
    assert len(value) <= 512


@given(st.lists(st.text("äx,", max_size=2_000), max_size=9))
def test_any_names_of_modules_make_an_answer(modules: list[str]) -> None:
    handler = RecordingHandler(PUBLISHERS, NodeFacts(modules=tuple(modules), blocks=tuple(modules)))
    assert handler.handle(probe("modules", "blocks"), ARRIVAL, 1.0).code == 200


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (setup(), Code.FORBIDDEN),
        (Remove(target=MODULE, user="alice"), Code.NOT_FOUND),
        (probe(target=MODULE), Code.NOT_FOUND),
        (trigger(probe()), Code.OK),
    ],
)
def test_a_node_without_modules_says_so(request_: Probe, code: Code) -> None:
    handler = RecordingHandler(PUBLISHERS)
    assert handler.handle(request_, ARRIVAL, 1.0).code == code
    assert [(record.at, record.request, record.code) for record in handler.records] == [(1.0, request_, code)]


def test_keys_are_those_of_the_publisher() -> None:
    handler = RecordingHandler(PUBLISHERS)
    assert handler.keys_for(probe()) == (ALICE.public_key,)
    assert handler.keys_for(probe(user="bob")) == ()
    assert handler.keys_for(Probe(items=("status",))) == ()


def test_records_are_bounded() -> None:
    handler = RecordingHandler(PUBLISHERS)
    request = probe()
    for number in range(1_100):
        handler.refused(request, ARRIVAL, NslpError("why", code=Code.GONE), float(number))
    assert len(handler.records) == 1_024
    assert handler.records[-1].at == 1_099.0
    assert (handler.records[0].code, handler.records[0].text) == (410, "why")


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "a\nb"},
        {"text": "x" * 513},
        {"lines": (("code", "1"),)},
        {"lines": (("load", "1"), ("load", "1"))},
        {"lines": (("load", "x" * 4_097),)},
        {"lines": (("Load", "1"),)},
    ],
)
def test_an_answer_that_cannot_be_written_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(NslpError):
        Answer(code=200, **fields)
