import os
import secrets
import stat
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.lowlevel
from hypothesis import given
from hypothesis import strategies as st

from netserv.errors import (
    LocalProtocolError,
    NetservError,
    RemoteProtocolError,
    SystemRefusedError,
    UnreachableError,
)
from netserv.signaling.control import CONNECTIONS_MAX, control_socket, only_daemon, socket_name
from netserv.signaling.control_client import ControlClient, NoDaemonError
from netserv.signaling.control_messages import (
    REQUEST_MAX,
    Answer,
    Ask,
    FrameReader,
    GetStatus,
    error_of,
    failed,
    frame,
    reply_reader,
    request_reader,
)
from netserv.signaling.status import Status

ASK = Ask(text=b"PROBE * NETSERV/0.1\n\n", destination=bytes(4))
STATUS = Status(
    node_id="n1",
    identity="00",
    pid=1,
    uptime_s=1.5,
    profile="netserv",
    catching="none",
    port=270,
    association_port=270,
    secure_port=None,
    addresses=("192.0.2.1",),
    publishers=("alice",),
    public_probes=False,
    asking=0,
    associations=0,
    sessions=0,
    peers=0,
    counters={"gist": {"received": 3}},
    gist={},
)


class MemoryDaemon:
    """Answers at once, fails as it is told, or waits for ever."""

    def __init__(self) -> None:
        self.asked: list[Ask] = []
        self.error: NetservError | None = None
        self.waits = False
        self.given_up = trio.Event()

    async def ask(self, request: Ask) -> Answer:
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        if self.waits:
            try:
                await trio.sleep_forever()
            finally:
                self.given_up.set()
        return Answer(text=b"RESPONSE", elapsed_s=0.25)

    def status(self) -> Status:
        return STATUS


@asynccontextmanager
async def serving(name: str | None = None) -> AsyncIterator[tuple[MemoryDaemon, str]]:
    daemon, name = MemoryDaemon(), name or f"@netserv-test-{secrets.token_hex(8)}"
    async with control_socket(daemon, name):
        yield daemon, name


async def test_a_request_is_answered() -> None:
    async with serving() as (daemon, name):
        assert await ControlClient(name).ask(ASK) == Answer(text=b"RESPONSE", elapsed_s=0.25)
        assert daemon.asked == [ASK]
        assert await ControlClient(name).status() == STATUS


@pytest.mark.parametrize(
    "kind", [LocalProtocolError, RemoteProtocolError, UnreachableError, SystemRefusedError, NetservError]
)
async def test_an_error_reaches_the_caller_as_what_it_is(kind: type[NetservError]) -> None:
    async with serving() as (daemon, name):
        daemon.error = kind("because of this")
        with pytest.raises(NetservError, match="because of this") as caught:
            await ControlClient(name).ask(ASK)
        assert type(caught.value) is kind


async def test_without_a_daemon_the_caller_is_told_what_to_do() -> None:
    with pytest.raises(NoDaemonError, match=r"answers at @none; start one: netserv signal daemon"):
        await ControlClient("@none").status()


async def test_a_socket_of_the_file_system_is_private_and_goes_with_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with serving(str(path)) as (_daemon, name):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (await ControlClient(name).status()).pid == 1
        with pytest.raises(SystemRefusedError, match="Address already in use; give another one with --control"):
            async with serving(name):
                pass
    assert not path.exists()


async def test_a_socket_that_a_killed_daemon_left_is_taken_over(tmp_path: Path) -> None:
    path = str(tmp_path / "control.sock")
    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM) as left:
        await left.bind(path)
    async with serving(path):
        assert (await ControlClient(path).status()).node_id == "n1"


async def test_anything_else_at_the_path_of_the_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("a letter")
    with pytest.raises(SystemRefusedError, match="Address already in use"):
        async with serving(str(path)):
            pass
    assert path.read_text() == "a letter"


async def test_a_caller_that_leaves_ends_its_request() -> None:
    async with serving() as (daemon, name):
        daemon.waits = True
        with trio.move_on_after(0.05):
            await ControlClient(name).ask(ASK)
        with trio.fail_after(5):
            await daemon.given_up.wait()


async def exchange(name: str, data: bytes) -> bytes:
    sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    await sock.connect(socket_name(name))
    async with trio.SocketStream(sock) as stream:
        await stream.send_all(data)
        await stream.send_eof()
        return b"".join([bytes(part) async for part in stream])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (struct.pack("!I", REQUEST_MAX + 1), f"a frame of {REQUEST_MAX + 1} bytes"),
        (struct.pack("!I", 3) + b"\xc1\xc1\xc1", "not a message of the control socket"),
        (frame(GetStatus()) + b"more", "bytes after the message"),
        (struct.pack("!I", 1) + msgspec.msgpack.encode(1), "not a message"),
    ],
)
async def test_strange_bytes_are_refused(data: bytes, said: str) -> None:
    async with serving() as (_daemon, name):
        reply = reply_reader().feed(await exchange(name, data))
        assert reply is not None
        with pytest.raises(LocalProtocolError, match=said):
            raise error_of(reply)  # type: ignore[arg-type]
        assert (await ControlClient(name).status()).pid == 1


async def test_half_a_request_is_no_request() -> None:
    async with serving() as (daemon, name):
        assert await exchange(name, frame(ASK)[:-1]) == b""
        assert not daemon.asked


async def test_programs_over_the_limit_are_told_to_come_later() -> None:
    async with serving() as (daemon, name), trio.open_nursery() as nursery:
        daemon.waits = True
        for _ in range(CONNECTIONS_MAX):
            nursery.start_soon(ControlClient(name).ask, ASK)
        with trio.fail_after(5):
            while len(daemon.asked) < CONNECTIONS_MAX:
                await trio.lowlevel.checkpoint()
        with pytest.raises(NetservError, match=f"{CONNECTIONS_MAX} programs are connected; try again later"):
            await ControlClient(name).status()
        nursery.cancel_scope.cancel()


async def test_a_daemon_that_stops_is_told_as_that() -> None:
    async with trio.open_nursery() as nursery, serving() as (daemon, name):
        daemon.waits = True

        async def ask() -> None:
            with pytest.raises(UnreachableError, match=f"the daemon at {name} has stopped"):
                await ControlClient(name).ask(ASK)

        nursery.start_soon(ask)
        with trio.fail_after(5):
            while not daemon.asked:
                await trio.lowlevel.checkpoint()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
async def test_another_user_is_refused() -> None:
    async with serving() as (_daemon, name):
        script = (
            "import os, trio\n"
            "from netserv.signaling.control_client import ControlClient\n"
            "os.setuid(65534)\n"
            f"try:\n    trio.run(ControlClient('{name}').status)\n"
            "except Exception as error:\n    print(error)"
        )
        done = await trio.run_process([sys.executable, "-c", script], capture_stdout=True)
        assert done.stdout.decode() == "this daemon serves root and user 0, not user 65534\n"


def test_a_second_daemon_of_a_namespace_is_refused() -> None:
    with only_daemon(), pytest.raises(SystemRefusedError, match="network namespace already"), only_daemon():
        pass
    with only_daemon():
        pass


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_are_refused(data: bytes) -> None:
    for whole in (data, struct.pack("!I", len(data)) + data):
        try:
            request = request_reader().feed(whole)
        except LocalProtocolError:
            continue
        assert request is None or isinstance(request, Ask | GetStatus)


@given(
    st.builds(
        Ask,
        text=st.binary(max_size=100),
        destination=st.binary(min_size=4, max_size=4),
        source=st.none() | st.binary(min_size=16, max_size=16),
        reliable=st.booleans(),
        timeout_s=st.floats(0.1, 600.0),
    ),
    st.integers(1, 40),
)
def test_a_request_comes_back_from_its_frame_whatever_its_pieces(request: Ask, size: int) -> None:
    reader: FrameReader[object] = request_reader()  # type: ignore[assignment]
    data = frame(request)
    pieces = [reader.feed(data[at : at + size]) for at in range(0, len(data), size)]
    assert pieces[-1] == request
    assert set(pieces[:-1]) <= {None}


def test_every_error_has_its_reply() -> None:
    assert failed(NetservError("x")).kind == "other"
    assert type(error_of(failed(UnreachableError("x")))) is UnreachableError
