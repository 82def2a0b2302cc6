"""Gets what modules send, by TCP: who shows the token of this deployment, and nobody else."""

import hmac
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from dhtboot.ids import Address, format_address
from netserv.errors import LocalProtocolError, RemoteProtocolError
from netserv.publisher.net_monitor.reports import LINE_MAX, Report, Reports, read_hello

log = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 64
"At a time: one for each node of a path, and GIST has paths of 64 at most."
HELLO_S: Final = 5.0
QUIET_INTERVALS: Final = 10
"Without a report until a connection counts as dead."
READ_BYTES: Final = 65_536


class Collector:
    """Takes reports.

    Args:
        token: that modules have to show.
        reported: is told the address of a node, its report, and the seconds that it is for.
        came: is told the address of a node that has connected, and of one that is gone: True or False.
    """

    def __init__(
        self, token: str, reported: Callable[[str, Report, float], None], came: Callable[[str, bool], None]
    ) -> None:
        self._token, self._reported, self._came = token, reported, came
        self.counters: Counter[str] = Counter()

    async def serve(
        self, address: Address, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Take connections until cancelled; says where.

        Raises:
            LocalProtocolError: the address cannot be used.
        """
        host, port = address
        try:
            listeners = await trio.open_tcp_listeners(port, host=host, backlog=CONNECTIONS_MAX)
        except OSError as error:
            raise LocalProtocolError(
                f"reports at {format_address(address)}: {error.strerror or error}; give another address to --report"
            ) from error
        name = listeners[0].socket.getsockname()
        task_status.started((name[0], name[1]))
        await trio.serve_listeners(self._guarded, listeners)

    async def _guarded(self, stream: trio.SocketStream) -> None:
        if self.counters["open"] >= CONNECTIONS_MAX:
            self.counters["refused"] += 1
            await stream.aclose()
            return
        self.counters["open"] += 1
        try:
            async with stream:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
                    await self._take(stream, str(stream.socket.getpeername()[0]))
        except RemoteProtocolError as error:
            self.counters["refused"] += 1
            log.info("a connection was refused: %s", error)
        except OSError as error:  # gone before it was there
            log.debug("a connection ended at once: %s", error)
        finally:
            self.counters["open"] -= 1

    async def _take(self, stream: trio.SocketStream, peer: str) -> None:
        lines = _Lines(stream)
        with trio.fail_after(HELLO_S):
            hello = read_hello(await lines.next() or b"")
        if not hmac.compare_digest(hello.token.encode(), self._token.encode()):
            raise RemoteProtocolError(f"{peer} has not shown the token")
        self._came(peer, True)
        try:
            reports = Reports()
            while True:
                with trio.fail_after(QUIET_INTERVALS * max(hello.interval_s, 1.0)):
                    line = await lines.next()
                if line is None:
                    return
                report = reports.take(line)
                if report is not None:
                    self.counters["reports"] += 1
                    self._reported(peer, report, hello.interval_s)
        finally:
            self._came(peer, False)


class _Lines:
    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream, self._held = stream, bytearray()

    async def next(self) -> bytes | None:
        """The next line; None at the end."""
        while (end := self._held.find(b"\n")) < 0:
            if len(self._held) > LINE_MAX:
                raise RemoteProtocolError(f"a line of more than {LINE_MAX} bytes")
            data = await self._stream.receive_some(READ_BYTES)
            if not data:
                return None
            self._held += data
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        return line
