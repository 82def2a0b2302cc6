"""A deployment against nodes that answer by a script."""

from collections.abc import Sequence
from typing import Any, cast

import pytest
import trio
import trio.testing

from netserv.errors import LocalProtocolError, UnreachableError
from netserv.modules.manifest import Manifest
from netserv.publisher.deploying import PAUSE_MIN_S, Deployment, NodeResult, check_signer, removed_at_the_end
from netserv.publisher.wishes import Wish
from netserv.signaling.asking import Reply
from netserv.signaling.nslp.requests import Probe, Remove, Setup
from netserv.signaling.nslp.responses import Response, StackEntry
from netserv.signaling.nslp.values import Flow, ModuleRef
from netserv.signaling.sessions import Session

MANIFEST = Manifest(name="tests.One", version="1.0.0", entry="main:One", kind="server")
FLOW = Flow(bytes([10, 1, 0, 2]), bytes([10, 3, 0, 2]))
Says = Sequence[tuple[str, int]]


class Nodes:
    """A session whose nodes say, nearest first, what the script has for each request of a kind; the last goes on."""

    def __init__(self, ttl: str = "60", **script: list[Says | Exception]) -> None:
        self.script, self.ttl = script, ttl
        self.asked: list[tuple[float, Setup | Remove | Probe]] = []

    async def ask(self, request: Setup | Remove | Probe) -> Reply:
        self.asked.append((trio.current_time(), request))
        await trio.lowlevel.checkpoint()
        says = self.script[type(request).__name__.lower()]
        now = says.pop(0) if len(says) > 1 else says[0]
        if isinstance(now, Exception):
            raise now
        lines = (("ttl", self.ttl),) if isinstance(request, Setup) else ()
        stack = tuple(
            StackEntry(node_id=name, address=bytes([10, 1, 0, 1]), hops=1, code=code, text="words", lines=lines)
            for name, code in reversed(now)
        )
        return Reply(
            flow=FLOW,
            response=Response(target=None, request=bytes(16), code=200, stack=stack),
            elapsed_s=0.0,
            by_daemon=True,
        )

    def kinds(self) -> list[str]:
        return [type(request).__name__ for _at, request in self.asked]


def deployment(nodes: Nodes, **more: Any) -> Deployment:
    wish = Wish(user="alice", ttl_s=60)
    return Deployment(cast("Session", nodes), MANIFEST, b"bundle", url="http://10.1.0.2/one.zip", wish=wish, **more)


def codes(results: tuple[NodeResult, ...]) -> list[tuple[str, int]]:
    return [(one.node_id, one.code) for one in results]


async def test_nodes_are_asked_until_each_has_said_how_it_went(clock: trio.testing.MockClock) -> None:
    nodes = Nodes(
        setup=[[("near", 202), ("far", 403)]],
        probe=[[("near", 202), ("far", 404)], UnreachableError("lost"), [("near", 200), ("far", 404)]],
    )
    told: list[list[tuple[str, int]]] = []
    made = deployment(nodes)
    await made.install(60.0, lambda results: told.append(codes(results)))
    # What a node has refused is not what it has of the module: none.
    assert told == [[("near", 202), ("far", 403)], [("near", 200), ("far", 403)]]
    assert nodes.kinds() == ["Setup", "Probe", "Probe", "Probe"]
    assert [one.ttl_s for one in made.results] == [60, 60]


async def test_nodes_that_take_too_long_are_left_as_they_are(clock: trio.testing.MockClock) -> None:
    made = deployment(Nodes(setup=[[("near", 202)]], probe=[[("near", 202)]]))
    await made.install(5.0, lambda _results: None)
    assert trio.current_time() >= 5.0
    assert codes(made.results) == [("near", 202)]


@pytest.mark.parametrize(("ttl", "pause_s"), [("60", 20.0), ("30", 10.0), ("0", PAUSE_MIN_S), ("moon", 20.0)])
async def test_it_is_refreshed_thrice_in_the_shortest_time_to_live(
    ttl: str, pause_s: float, clock: trio.testing.MockClock
) -> None:
    nodes = Nodes(ttl, setup=[[("near", 200)]])
    made = deployment(nodes)
    await made.install(60.0, lambda _results: None)
    with trio.move_on_after(3.5 * pause_s):
        await made.keep(lambda _results: None)
    begun = nodes.asked[0][0]
    assert [round(at - begun, 3) for at, _ in nodes.asked] == [0.0, *(pause_s * number for number in (1, 2, 3))]


async def test_a_refresh_that_nobody_answers_is_sent_again(clock: trio.testing.MockClock) -> None:
    nodes = Nodes(setup=[[("near", 200)], UnreachableError("nobody"), [("near", 200)]])
    made = deployment(nodes)
    await made.install(60.0, lambda _results: None)
    with trio.move_on_after(50.0):
        await made.keep(lambda _results: None)
    assert nodes.kinds() == ["Setup"] * 3


async def test_it_is_removed_at_the_end_also_when_that_is_cancelled(clock: trio.testing.MockClock) -> None:
    nodes = Nodes(setup=[[("near", 200)]], remove=[[("near", 202)]])
    made = deployment(nodes)
    with trio.move_on_after(1.0):
        async with removed_at_the_end(made):
            await trio.sleep_forever()
    assert nodes.kinds() == ["Remove"]
    nodes.script["remove"] = [UnreachableError("nobody")]
    async with removed_at_the_end(made):
        pass


async def test_each_request_has_a_password_of_its_own_where_nodes_want_to_see_one(
    clock: trio.testing.MockClock,
) -> None:
    shown: list[tuple[ModuleRef, str]] = []
    nodes = Nodes(setup=[[("near", 200)]])
    made = deployment(nodes, prove=lambda module, word: shown.append((module, word)))
    await made.install(1.0, lambda _results: None)
    with trio.move_on_after(30.0):
        await made.keep(lambda _results: None)
    words = [request.password for _at, request in nodes.asked if isinstance(request, Setup)]
    assert words == [word for _module, word in shown]
    assert len(set(words)) == len(words) == 2
    assert {str(module) for module, _word in shown} == {"tests.One_1.0.0"}


@pytest.mark.parametrize(("signer", "said"), [(None, "not signed"), (b"b" * 32, "another key")])
def test_a_bundle_of_another_is_not_deployed(signer: bytes | None, said: str) -> None:
    with pytest.raises(LocalProtocolError, match=said):
        check_signer(signer, b"a" * 32)
    check_signer(b"a" * 32, b"a" * 32)
