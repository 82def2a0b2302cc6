import sys

import msgspec
import pytest
import trio
from trio.testing import MockClock

from netserv import cli_ask
from netserv.cli_ask import reply_fields, reply_lines
from netserv.signaling.asking import Reply
from netserv.signaling.gist.addresses import packed
from netserv.signaling.gist.service import LastBy
from netserv.signaling.nslp.responses import Response, StackEntry
from netserv.signaling.nslp.values import Flow

NEAR = StackEntry(node_id="near", address=packed("10.2.0.2"), hops=1, code=200, lines=(("load", "0.1"),))
FAR = StackEntry(
    node_id="far-away", address=packed("2001:db8::1"), hops=0, code=401, text="nobody known", last_by=LastBy.ICMP
)
REPLY = Reply(
    flow=Flow(packed("10.1.0.2"), packed("10.5.0.2")),
    response=Response(target=None, request=bytes(16), code=401, stack=(FAR, NEAR)),
    elapsed_s=0.01234567,
    by_daemon=False,
)


def test_people_read_the_nearest_node_on_top() -> None:
    assert list(reply_lines("on the path to server", REPLY)) == [
        "2 nodes on the path to server, answered in 12.3 ms",
        "  1  near      10.2.0.2  1 hop  200",
        "     load: 0.1",
        "  2  far-away  2001:db8::1  0 hops  401 nobody known  last node, by icmp",
    ]


def test_a_stack_that_had_no_room_says_so() -> None:
    reply = msgspec.structs.replace(REPLY, response=msgspec.structs.replace(REPLY.response, stack=(FAR,), truncated=2))
    lines = list(reply_lines("on the path to server", reply))
    assert lines[:2] == [
        "3 nodes on the path to server, answered in 12.3 ms",
        "the nearest 2 of them found no room in the answer",
    ]
    assert lines[2].startswith("  3  far-away")


def test_scripts_get_all_of_it() -> None:
    assert reply_fields("server", REPLY) == {
        "toward": "server",
        "source": "10.1.0.2",
        "destination": "10.5.0.2",
        "elapsed_s": 0.012346,
        "by_daemon": False,
        "code": 401,
        "truncated": 0,
        "nodes": [
            {
                "node_id": "near",
                "address": "10.2.0.2",
                "hops": 1,
                "code": 200,
                "text": "",
                "last_by": None,
                "lines": {"load": "0.1"},
            },
            {
                "node_id": "far-away",
                "address": "2001:db8::1",
                "hops": 0,
                "code": 401,
                "text": "nobody known",
                "last_by": "icmp",
                "lines": {},
            },
        ],
    }


async def work(duration_s: float) -> str:
    await trio.sleep(duration_s)
    return "done"


async def test_a_person_who_waits_is_told_for_what(clock: MockClock, capsys: pytest.CaptureFixture[str]) -> None:
    assert await cli_ask.waited_for("the nodes", work(8.0)) == "done"
    assert capsys.readouterr().err.splitlines() == [
        "netserv: waiting for the nodes, 2 s",
        "netserv: waiting for the nodes, 7 s",
    ]


async def test_on_a_terminal_the_line_is_overwritten_and_taken_away(
    clock: MockClock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    await cli_ask.waited_for("the nodes", work(3.5))
    assert capsys.readouterr().err == (
        "\rnetserv: waiting for the nodes, 2 s\rnetserv: waiting for the nodes, 3 s\r\x1b[K"
    )


async def test_a_quick_answer_comes_without_a_word(clock: MockClock, capsys: pytest.CaptureFixture[str]) -> None:
    await cli_ask.waited_for("the nodes", work(1.0))
    assert capsys.readouterr().err == ""
