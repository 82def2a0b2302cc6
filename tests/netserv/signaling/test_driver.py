"""The driver between two cores that note what they are asked, a port in memory, and real associations on loopback."""

import math
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from netserv.errors import LocalProtocolError, SystemRefusedError, UnreachableError
from netserv.signaling import driver as module
from netserv.signaling.driver import LATE_S, Driver, driving
from netserv.signaling.gist.addresses import packed
from netserv.signaling.gist.effects import (
    Caught,
    CloseAssociation,
    Deliver,
    Forward,
    Notify,
    OpenAssociation,
    Report,
    SendDatagram,
    SendOnAssociation,
)
from netserv.signaling.gist.objects.mri import PathCoupledMri
from netserv.signaling.gist.service import (
    MessageStatus,
    NetworkNotification,
    NotificationKind,
    RecvMessage,
    SendMessage,
    TransferAttributes,
)
from netserv.signaling.nslp.effects import Abandoned, Answered, SetStateLifetime
from netserv.signaling.nslp.requests import Probe, encode
from netserv.signaling.nslp.responses import Response
from netserv.signaling.transport.listeners import open_listeners, port_of

A, B = packed("127.0.0.1"), packed("127.0.0.2")
MRI = PathCoupledMri(source=A, destination=B, source_prefix=32, destination_prefix=32)
RECEIVED = RecvMessage(nslp_id=32704, sid=bytes(16), mri=MRI, data=b"data")
NONCE = bytes(range(16))
TEXT = encode(Probe(items=("status",), nonce=NONCE))
RESPONSE = Response(target=None, request=NONCE, code=200)


def datagram(number: int) -> SendDatagram:
    return SendDatagram(b"%d" % number, (B, 270), 270, 64)


def message(data: bytes = b"sent") -> SendMessage:
    return SendMessage(nslp_id=32704, sid=bytes(16), mri=MRI, data=data)


def packet(payload: bytes = b"", *, in_transit: bool = False, interface: int = 0) -> Caught:
    return Caught(
        payload=payload, source=(A, 1), destination=(B, 270), in_transit=in_transit, ip_ttl=9, interface=interface
    )


class Cores:
    """Both nodes: each call is noted, and answered by what the test has laid out for it."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, list[list[Any]]] = {}
        self.deadline = math.inf
        self.news = trio.Event()

    def _answer(self, name: str, *arguments: Any) -> list[Any]:
        self.calls.append((name, *arguments))
        self.news.set()
        waiting = self.answers.get(name, [])
        return waiting.pop(0) if waiting else []

    def caught(self, packet: Caught, now: float) -> list[Any]:
        return self._answer("caught", packet.payload)

    def unreachable(self, destination: bytes, quoted: bytes, now: float) -> list[Any]:
        return self._answer("unreachable", destination, quoted)

    def association_accepted(self, number: int, peer: Any, *, secure: bool, now: float) -> list[Any]:
        return self._answer("accepted", number, secure)

    def association_opened(self, number: int, *, now: float, peer_names: tuple[str, ...] = ()) -> list[Any]:
        return self._answer("opened", number)

    def association_data(self, number: int, data: bytes, now: float) -> list[Any]:
        return self._answer("data", number, data)

    def association_closed(self, number: int, reason: str, now: float) -> list[Any]:
        return self._answer("closed", number, reason)

    def send(self, message: SendMessage, now: float) -> list[Any]:
        return self._answer("send", message.data)

    def set_state_lifetime(self, nslp_id: int, mri: Any, sid: bytes, lifetime_s: float, now: float) -> list[Any]:
        return self._answer("lifetime", lifetime_s)

    def tick(self, now: float) -> list[Any]:
        self.deadline = math.inf
        return self._answer("tick", now)

    def next_deadline(self) -> float:
        return self.deadline

    def stop(self, now: float) -> list[Any]:
        return self._answer("stop")

    # Of the NSLP.

    def received(self, message: RecvMessage, now: float) -> list[Any]:
        return self._answer("received", message.data)

    def reported(self, status: MessageStatus, now: float) -> list[Any]:
        return self._answer("reported", status.handle)

    def notified(self, notification: NetworkNotification, now: float) -> list[Any]:
        return self._answer("notified", notification.kind)

    def ask(
        self, request: Any, *, source: bytes, destination: bytes, reliable: bool, now: float, sid: bytes | None
    ) -> list[Any]:
        return self._answer("ask", source, destination, reliable)

    def withdraw(self, number: bytes) -> list[Any]:
        return self._answer("withdraw", number)

    async def until(self, condition: Any) -> None:
        with trio.fail_after(10):
            while not condition():
                self.news = trio.Event()
                await self.news.wait()

    async def told(self, *call: Any) -> None:
        await self.until(lambda: any(each[: len(call)] == call for each in self.calls))


async def together(come: trio.MemoryReceiveChannel[Caught]) -> list[Caught]:
    found = [await come.receive()]
    with suppress(trio.WouldBlock):
        while True:
            found.append(come.receive_nowait())
    return found


class MemoryPort:
    """Sends into a list; receives what a test puts in."""

    port = 270

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.error: Exception | None = None
        self.counters: Counter[str] = Counter()
        self.put_in, self._come = trio.open_memory_channel[Caught](math.inf)
        self.put_error, self._errors = trio.open_memory_channel[tuple[bytes, bytes]](math.inf)

    def send_datagram(self, message: SendDatagram) -> bool:
        if self.error is not None:
            raise self.error
        self.sent.append(message)
        return True

    send_along_flow = send_datagram

    async def ready(self) -> None:
        self.waiting = await together(self._come)

    def take(self) -> Caught | None:
        return self.waiting.pop(0) if self.waiting else None

    async def unreachables(self) -> AsyncIterator[tuple[bytes, bytes]]:
        async for each in self._errors:
            yield each


class MemoryInterceptor:
    """Catches what a test puts in."""

    def __init__(self) -> None:
        self.put_in, self._come = trio.open_memory_channel[Caught](math.inf)
        self.done: list[tuple[Any, ...]] = []

    async def ready(self) -> None:
        self.waiting = await together(self._come)

    def take(self) -> Caught | None:
        return self.waiting.pop(0) if self.waiting else None

    def forward(self, packet: Caught, payload: bytes) -> None:
        self.done.append(("forward", packet.payload, payload))

    def discard(self, packet: Caught) -> None:
        self.done.append(("discard", packet.payload))


@asynccontextmanager
async def driven(cores: Cores, port: MemoryPort, interceptor: Any = None, **more: Any) -> AsyncIterator[Driver]:
    parts: Any = (cores, cores, port, interceptor)
    async with driving(*parts, **more) as driver:
        yield driver


async def test_effects_are_done_in_order_and_what_follows_from_one_comes_after_the_others() -> None:
    cores, port = Cores(), MemoryPort()
    cores.answers = {
        "caught": [[datagram(1), Deliver(RECEIVED), datagram(2)]],
        "received": [[message(b"a"), SetStateLifetime(nslp_id=1, mri=MRI, sid=None, lifetime_s=0.0), message(b"b")]],
        "send": [[datagram(3), Deliver(RECEIVED)], [datagram(4)]],
    }
    async with driven(cores, port):
        port.put_in.send_nowait(packet(b"x"))
        await cores.told("send", b"b")
        assert cores.calls[:6] == [
            ("caught", b"x"),
            ("received", b"data"),
            ("send", b"a"),
            ("lifetime", 0.0),
            ("send", b"b"),
            ("received", b"data"),
        ]
        assert [each.payload for each in port.sent] == [b"1", b"2", b"3", b"4"]


async def test_reports_notifications_and_icmp_errors_reach_who_waits_for_them() -> None:
    cores, port = Cores(), MemoryPort()
    status = MessageStatus(nslp_id=1, handle=7, attributes=TransferAttributes())
    notification = NetworkNotification(nslp_id=1, sid=bytes(16), mri=MRI, kind=NotificationKind.LAST_NODE)
    cores.answers = {"unreachable": [[Report(status), Notify(notification)]]}
    async with driven(cores, port):
        port.put_error.send_nowait((B, b"quoted"))
        await cores.told("notified", NotificationKind.LAST_NODE)
        assert cores.calls[:2] == [("unreachable", B, b"quoted"), ("reported", 7)]


async def test_a_caught_packet_goes_on_or_is_let_go() -> None:
    cores, port, interceptor = Cores(), MemoryPort(), MemoryInterceptor()
    first, second, third = (packet(payload, in_transit=True) for payload in (b"1", b"2", b"3"))
    cores.answers = {"caught": [[Forward(first, b"one"), datagram(1)], [datagram(2)], [Forward(third, b"3")]]}
    async with driven(cores, port, interceptor):
        for each in (first, second, third):
            interceptor.put_in.send_nowait(each)
        await cores.told("caught", b"3")
        await trio.testing.wait_all_tasks_blocked()
        assert interceptor.done == [("forward", b"1", b"one"), ("discard", b"2"), ("forward", b"3", b"3")]


async def test_what_comes_by_another_interface_passes_untouched() -> None:
    cores, port, interceptor = Cores(), MemoryPort(), MemoryInterceptor()
    async with driven(cores, port, interceptor, interfaces=frozenset({2})):
        interceptor.put_in.send_nowait(packet(b"1", in_transit=True, interface=1))
        interceptor.put_in.send_nowait(packet(b"2", in_transit=True, interface=2))
        await cores.told("caught", b"2")
        await trio.testing.wait_all_tasks_blocked()
        assert interceptor.done == [("forward", b"1", b"1"), ("discard", b"2")]
        assert ("caught", b"1") not in cores.calls


async def test_both_nodes_are_woken_when_something_is_due(clock: MockClock) -> None:
    cores, port = Cores(), MemoryPort()
    begun = trio.current_time()
    cores.deadline = begun + 5.0
    async with driven(cores, port):
        await trio.sleep(10.0)
        assert [call[1] - begun for call in cores.calls if call[0] == "tick"] == [5.0 + LATE_S] * 2


async def test_a_deadline_that_comes_nearer_is_kept(clock: MockClock) -> None:
    cores, port = Cores(), MemoryPort()
    begun = trio.current_time()
    cores.deadline = begun + 500.0
    async with driven(cores, port):
        await trio.sleep(1.0)
        cores.deadline = begun + 3.0
        port.put_in.send_nowait(packet())
        await trio.sleep(10.0)
        assert [call[1] - begun for call in cores.calls if call[0] == "tick"] == [3.0 + LATE_S]


async def test_what_is_due_is_done_behind_what_has_come_and_needs_no_alarm(clock: MockClock) -> None:
    cores, port = Cores(), MemoryPort()
    begun = trio.current_time()
    async with driven(cores, port):
        cores.deadline = begun
        port.put_in.send_nowait(packet(b"x"))
        await cores.told("tick")
        assert {call[1] for call in cores.calls if call[0] == "tick"} == {begun}


async def test_what_has_come_together_is_answered_together() -> None:
    cores, port = Cores(), MemoryPort()
    cores.answers = {"caught": [[datagram(1)], [datagram(2)]]}
    treated_before: list[int] = []

    def send(message: SendDatagram) -> bool:
        treated_before.append(len(cores.calls))
        return True

    port.send_datagram = send  # type: ignore[method-assign]
    async with driven(cores, port):
        for payload in (b"x", b"y"):
            port.put_in.send_nowait(packet(payload))
        await cores.told("caught", b"y")
        await trio.testing.wait_all_tasks_blocked()
    assert treated_before == [2, 2]


async def test_what_the_kernel_refuses_does_not_keep_the_rest_from_being_sent() -> None:
    cores, port = Cores(), MemoryPort()
    port.error = SystemRefusedError("no")
    cores.answers = {"caught": [[datagram(1), Deliver(RECEIVED)]]}
    async with driven(cores, port) as driver:
        port.put_in.send_nowait(packet())
        await cores.told("received", b"data")
        assert driver.counters["not_sent"] == 1


async def ask(driver: Driver, timeout_s: float = 60.0) -> Response:
    return await driver.ask(TEXT, source=A, destination=B, reliable=True, timeout_s=timeout_s)


async def test_who_waits_no_more_withdraws_the_request() -> None:
    cores = Cores()
    async with driven(cores, MemoryPort()) as driver, trio.open_nursery() as nursery:
        nursery.start_soon(ask, driver)
        await cores.told("ask", A, B, True)
        nursery.cancel_scope.cancel()
    assert ("withdraw", NONCE) in cores.calls


async def test_a_request_of_this_machine_gets_its_answer() -> None:
    cores, port = Cores(), MemoryPort()
    cores.answers = {
        "ask": [[message()]],
        "send": [[datagram(1)]],
        "received": [[Answered(nonce=NONCE, response=RESPONSE)]],
    }
    cores.answers["caught"] = [[Deliver(RECEIVED)]]
    async with driven(cores, port) as driver, trio.open_nursery() as nursery:

        async def answer() -> None:
            await cores.told("ask", A, B, True)
            assert driver.asking == 1
            port.put_in.send_nowait(packet())

        nursery.start_soon(answer)
        assert await ask(driver) == RESPONSE
        assert driver.asking == 0


async def test_a_request_that_is_given_up_says_why() -> None:
    cores, port = Cores(), MemoryPort()
    cores.answers = {"ask": [[Abandoned(nonce=NONCE, reason="nobody is there", no_node=True)]]}
    async with driven(cores, port) as driver:
        with pytest.raises(UnreachableError, match="nobody is there"):
            await ask(driver)


async def test_an_answer_that_nobody_waits_for_any_more_is_counted(clock: MockClock) -> None:
    cores, port = Cores(), MemoryPort()
    cores.answers = {"caught": [[Deliver(RECEIVED)]], "received": [[Answered(nonce=NONCE, response=RESPONSE)]]}
    async with driven(cores, port) as driver:
        with pytest.raises(UnreachableError, match="no answer within 3 s"):
            await ask(driver, 3.0)
        port.put_in.send_nowait(packet())
        await cores.told("received", b"data")
        assert driver.counters["late_answers"] == 1


async def test_the_same_request_twice_and_too_many_of_them_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cores, port = Cores(), MemoryPort()
    async with driven(cores, port) as driver, trio.open_nursery() as nursery:
        nursery.start_soon(ask, driver)
        await cores.told("ask")
        with pytest.raises(LocalProtocolError, match="under way already; give it another nonce"):
            await ask(driver)
        monkeypatch.setattr(module, "ASKING_MAX", 1)
        other = encode(Probe(items=("status",), nonce=bytes(16)))
        with pytest.raises(LocalProtocolError, match="1 requests wait for their answers; try again later"):
            await driver.ask(other, source=A, destination=B, reliable=True, timeout_s=1.0)
        nursery.cancel_scope.cancel()


async def test_associations_carry_bytes_between_two_nodes() -> None:
    ours, theirs = Cores(), Cores()
    async with driven(ours, MemoryPort()) as near, driven(theirs, MemoryPort()) as far:
        listeners = await open_listeners(0, "127.0.0.1")
        far.associations.accept(listeners, secure=False)
        ours.answers = {
            "tick": [[OpenAssociation(association=1, to=(A, port_of(listeners)), secure=False)]],
            "opened": [[SendOnAssociation(1, b"con"), SendOnAssociation(1, b"firm")]],
            "data": [[CloseAssociation(1)]],
        }
        theirs.answers = {"data": [[SendOnAssociation(2, b"answer")]]}
        ours.deadline = trio.current_time()
        near.wake()
        await theirs.told("closed", 2)
        assert theirs.calls[:2] == [("accepted", 2, False), ("data", 2, b"confirm")]
        assert ("data", 1, b"answer") in ours.calls
        assert ("closed", 1, "") not in [call[:2] for call in ours.calls]


async def test_the_end_lets_peers_hear_what_is_still_to_be_said() -> None:
    ours, theirs = Cores(), Cores()
    async with driven(theirs, MemoryPort()) as far:
        listeners = await open_listeners(0, "127.0.0.1")
        far.associations.accept(listeners, secure=False)
        ours.answers = {
            "tick": [[OpenAssociation(association=1, to=(A, port_of(listeners)), secure=False)]],
            "stop": [[SendOnAssociation(1, b"bye"), CloseAssociation(1)]],
        }
        async with driven(ours, MemoryPort()) as near:
            ours.deadline = trio.current_time()
            near.wake()
            await ours.told("opened", 1)
        await theirs.told("data", 2, b"bye")
        await theirs.told("closed", 2, "closed by the peer")
