"""Reverse routability against real servers, honest and not (abuse case 27)."""

from ipaddress import ip_address, ip_network

import pytest
import trio

from netserv.controller.authorization import shows_password
from netserv.controller.effects import CheckRoutability
from netserv.controller.http_process import HttpProcesses, HttpRules
from netserv.controller.routability import check
from tests.netserv.controller.strange_servers import Server, redirect, response, serving
from tests.netserv.controller.wishes import MONITOR, PASSWORD

LOOPBACK = HttpRules(allow=(ip_network("127.0.0.0/8"), ip_network("::1/128")), quiet_s=2.0)


def effect(server: Server, password: str = PASSWORD) -> CheckRoutability:
    address = ip_address(server.host)
    return CheckRoutability(job=1, user="alice", address=address, port=server.port, module=MONITOR, password=password)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_host_that_serves_the_password_is_routable(host: str) -> None:
    for body in (PASSWORD.encode(), PASSWORD.encode() + b"\n", PASSWORD.encode() + b"\r\n"):
        async with serving(response(body), host) as server:
            assert await check(effect(server), HttpProcesses(LOOPBACK)) is None
        (request,) = server.requests
        assert request.startswith(b"GET /.well-known/netserv/NetServ.apps.NetMonitor_1.0.0 HTTP/1.1\r\n")
        assert b"Cache-Control: no-cache, no-store\r\n" in request
        assert PASSWORD.encode() not in request


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (response(b"OK"), "serves another password"),
        (response(b""), "serves another password"),
        (response(PASSWORD.encode()[:-1]), "serves another password"),
        (response(PASSWORD.encode() + b"x"), "serves another password"),
        (response(b" " + PASSWORD.encode()), "serves another password"),
        (response(PASSWORD.lower().encode()), "serves another password"),
        (response(PASSWORD.encode() * 20), "bytes, more than 256"),
        (response(PASSWORD.encode(), status="404 Not Found"), "answers 404"),
        (response(PASSWORD.encode(), status="204 No Content"), "answers 204"),
    ],
)
async def test_a_host_that_serves_anything_else_is_not(answer: bytes, said: str) -> None:
    async with serving(answer) as server:
        reason = await check(effect(server), HttpProcesses(LOOPBACK))
    assert reason is not None
    assert said in reason
    assert PASSWORD not in reason


async def test_a_redirect_is_not_followed_even_to_the_password() -> None:
    async with serving(response(PASSWORD.encode())) as target, serving(redirect(target.url())) as server:
        reason = await check(effect(server), HttpProcesses(LOOPBACK))
        assert reason is not None
        assert "redirects" in reason
        assert not target.connections


async def test_a_silent_host_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(_stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr("netserv.controller.routability.DEADLINE_S", 0.3)
    async with serving(silent) as server:
        with trio.fail_after(5.0):
            assert await check(effect(server), HttpProcesses(LOOPBACK)) is not None


async def test_an_address_that_the_operator_has_not_opened_is_not_asked() -> None:
    async with serving(response(PASSWORD.encode())) as server:
        reason = await check(effect(server), HttpProcesses(HttpRules()))
    assert reason is not None
    assert not server.connections


def test_only_the_end_of_a_line_is_left_out() -> None:
    assert shows_password(b"abc\r\n", "abc")
    for body in (b"", b"ab", b"abc ", b"\nabc", b"abc\nabc", b"\xff"):
        assert not shows_password(body, "abc")
