"""Several requests in one session, through a daemon in memory behind a real control socket."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from netserv.errors import UnreachableError
from netserv.signaling import sessions
from netserv.signaling.asking import Way
from netserv.signaling.control import control_socket
from netserv.signaling.control_messages import Answer, Ask
from netserv.signaling.nslp.requests import Probe, decode
from netserv.signaling.nslp.responses import Response, encode
from netserv.signaling.sessions import session
from netserv.signaling.status import Status
from tests.netserv.signaling.test_control import STATUS

PROBE = Probe(items=("status",))


class Daemon:
    """Answers everything with no entry."""

    def __init__(self) -> None:
        self.asked: list[Ask] = []

    async def ask(self, request: Ask) -> Answer:
        self.asked.append(request)
        nonce = decode(request.text).nonce
        assert nonce is not None
        return Answer(text=encode(Response(target=None, request=nonce, code=200)), elapsed_s=0.25)

    def status(self) -> Status:
        return STATUS


async def test_all_requests_of_a_session_have_its_identifier_and_declare_it_long() -> None:
    daemon, name = Daemon(), f"@netserv-test-{secrets.token_hex(8)}"
    async with control_socket(daemon, name), session("127.0.0.1", way=Way(control=name, reliable=False)) as path:
        replies = [await path.ask(PROBE) for _ in range(3)]
    assert [ask.sid for ask in daemon.asked] == [path.sid] * 3
    texts = [decode(ask.text) for ask in daemon.asked]
    assert all(text.long_session and text.flow == path.flow for text in texts)
    assert len({text.nonce for text in texts}) == 3
    assert not any(ask.reliable for ask in daemon.asked)
    assert all(reply.by_daemon and reply.elapsed_s == 0.25 for reply in replies)


async def test_without_a_daemon_a_session_has_a_node_of_its_own() -> None:
    way = Way(control=f"@netserv-test-{secrets.token_hex(8)}", timeout_s=5.0)
    async with session("127.0.0.1", way=way) as path:
        for _ in range(2):
            with pytest.raises(UnreachableError, match="this node is the destination"):
                await path.ask(PROBE)


@asynccontextmanager
async def slow_node(_profile: str) -> AsyncIterator[Any]:
    """A node whose answers come from a task, as a real one's do."""
    send, receive = trio.open_memory_channel[trio.Event](1)

    async def answer() -> None:
        async for asked in receive:
            asked.set()

    async def ask(text: bytes, **_: Any) -> Response:
        asked = trio.Event()
        await send.send(asked)
        await asked.wait()
        return Response(target=None, request=decode(text).nonce, code=200)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        yield SimpleNamespace(ask=ask)
        nursery.cancel_scope.cancel()


async def test_who_is_cancelled_may_still_say_his_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "own_node", slow_node)
    said = []
    with trio.CancelScope() as scope:
        async with session("127.0.0.1", way=Way(control=None)) as path:
            try:
                scope.cancel()
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True), trio.move_on_after(1.0):
                    said.append(await path.ask(PROBE))
    assert scope.cancelled_caught
    assert len(said) == 1


async def test_what_is_no_name_of_a_host_has_no_session() -> None:
    with pytest.raises(UnreachableError, match="a\\.\\.b"):
        async with session("a..b"):
            pass
