"""Notifications to real servers: the call, the tries, the bounds."""

import xmlrpc.client
from collections.abc import Awaitable, Callable
from ipaddress import ip_network

import pytest
import trio

from netserv.controller.effects import Notify
from netserv.controller.http_process import HttpError, HttpProcesses, HttpRules, HttpTask
from netserv.controller.notification import OF_PUBLISHER_MAX, Notifier, call
from netserv.signaling.nslp.codes import Code
from tests.netserv.controller.strange_servers import response, serving
from tests.netserv.controller.wishes import MONITOR

LOOPBACK = HttpRules(allow=(ip_network("127.0.0.0/8"),), quiet_s=2.0)


def notify(url: str, text: str = "active for 3600 s") -> Notify:
    return Notify(url=url, event="installed", user="alice", module=MONITOR, code=200, text=text)


async def test_a_publishers_server_is_called_with_what_became_of_his_module() -> None:
    answer = response(xmlrpc.client.dumps((True,), methodresponse=True).encode(), "Content-Type: text/xml")
    notifier = Notifier(HttpProcesses(LOOPBACK), "router7")
    async with serving(answer) as server:
        await notifier.deliver(notify(server.url("/RPC2"), "<&]]> ok"))
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /RPC2 HTTP/1.1\r\n")
    assert b"\r\nContent-Type: text/xml" in head
    assert xmlrpc.client.loads(body)[0][2:] == ("router7", 200, "<&]]> ok")
    assert notifier.counters == {"delivered": 1, "failed": 0, "dropped": 0}


def test_the_call_says_all_five() -> None:
    arguments, method = xmlrpc.client.loads(call(notify("", "<&]]> ok"), "router7"))
    assert method == "netserv.installed"
    assert arguments == ("alice", "NetServ.apps.NetMonitor_1.0.0", "router7", 200, "<&]]> ok")


async def test_a_server_that_refuses_is_tried_again_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netserv.controller.notification.PAUSES_S", (0.0, 0.01, 0.02))
    notifier = Notifier(HttpProcesses(LOOPBACK), "router7")
    async with serving(response(b"", status="500 Oops")) as server:
        await notifier.deliver(notify(server.url()))
    assert server.connections == 3
    assert notifier.counters["failed"] == 1


async def test_a_server_that_the_operator_has_not_opened_is_not_called() -> None:
    notifier = Notifier(HttpProcesses(HttpRules()), "router7")
    async with serving(response(b"")) as server:
        await notifier.deliver(notify(server.url()))
    assert not server.connections


async def test_what_one_server_is_told_comes_in_its_order() -> None:
    notifier = Notifier(HttpProcesses(LOOPBACK), "router7")
    async with serving(response(b"")) as server, trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(notifier.deliver, notify(server.url(), f"number {number}"))
            await trio.testing.wait_all_tasks_blocked()
    told = [xmlrpc.client.loads(request.partition(b"\r\n\r\n")[2])[0][4] for request in server.requests]
    assert told == [f"number {number}" for number in range(6)]


class Stuck(HttpProcesses):
    """Answers when it is let."""

    def __init__(self) -> None:
        super().__init__(LOOPBACK)
        self.let = trio.Event()
        self.tries = 0

    async def request(self, task: HttpTask, user: str, sink: Callable[[bytes], None]) -> int:
        await self.let.wait()
        self.tries += 1
        raise HttpError("no", Code.NOT_FOUND)


async def test_what_waits_is_bounded(clock: trio.testing.MockClock) -> None:
    http = Stuck()
    notifier = Notifier(http, "router7")
    deliver: Callable[[Notify], Awaitable[None]] = notifier.deliver
    async with trio.open_nursery() as nursery:
        for _ in range(OF_PUBLISHER_MAX + 10):
            nursery.start_soon(deliver, notify("http://192.0.2.1/"))
        await trio.testing.wait_all_tasks_blocked()
        assert notifier.counters["dropped"] == 10
        http.let.set()
    assert http.tries == 3 * OF_PUBLISHER_MAX
    assert notifier.counters["failed"] == OF_PUBLISHER_MAX
    await notifier.deliver(notify("http://192.0.2.1/"))
    assert notifier.counters["dropped"] == 10
