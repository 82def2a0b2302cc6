"""Numbers of a running program for Prometheus over HTTP: GET /metrics. The only file that imports h11.

Whoever reaches the port may read them, so that it is one of this machine unless another address is given. One request
per connection; everything else is refused with the status code that says why.
"""

import ipaddress
import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

import h11
import trio

from dhtboot.ids import Address, format_address
from mdht.errors import LocalProtocolError
from mdht.prometheus import head

log = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 16
"At a time: a few servers that each ask every some seconds. Each costs a descriptor and at most `REQUEST_MAX` bytes."
REQUEST_MAX: Final = 8 * 1024
"Bytes of a request's head; one of Prometheus has some 400."
REQUEST_S: Final = 10.0
"Seconds from connection to the last byte of the answer; Prometheus itself waits for 10 by default."
CHUNK: Final = 4096
LINGER_S: Final = 1.0
"""For the rest of what was refused half read: a connection that is closed before that is reset, and the refusal lost
(RFC 9112 section 9.6)."""
HELP: Final = "serve what `status --prometheus` prints at http://ADDRESS:PORT/metrics (of this machine alone)"
LOOPBACK: Final = "127.0.0.1"
PATH: Final = b"/metrics"
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


def metrics_address(text: str) -> Address:
    """Where to serve: `PORT` of this machine alone, `ADDRESS:PORT` or `[IPv6]:PORT`; port 0 takes a free one.

    Raises:
        LocalProtocolError: it is none of these.
    """
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else -1
        is_v6 = bool(colon) and ipaddress.ip_address(bare).version == 6
    except ValueError:
        number, is_v6 = -1, False
    if not 0 <= number <= 65_535 or is_v6 != (bare != host):
        raise LocalProtocolError(f"{text!r} is neither a port, as 9273, nor a numeric address with one, as [::1]:9273")
    return bare or LOOPBACK, number


class MetricsServer:
    """Answers requests for metrics.

    Args:
        text: makes the exposition of this moment.
        prefix: of the names of the program's metrics; the server's own counter has it too.
    """

    def __init__(self, text: Callable[[], str], prefix: str) -> None:
        self._text, self._prefix = text, prefix
        self._connections = 0
        self.answers: Counter[int] = Counter()
        "By status code; 408 stands for what never became a request."

    async def serve(self, address: Address, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer until cancelled; says the URL when it listens.

        Raises:
            LocalProtocolError: the address cannot be used.
        """
        host, port = address
        try:
            listeners = await trio.open_tcp_listeners(port, host=host, backlog=CONNECTIONS_MAX)
        except OSError as error:
            where = format_address(address)
            reason = error.strerror or error
            raise LocalProtocolError(f"metrics at {where}: {reason}; give another address to --metrics") from error
        url = f"http://{format_address(listeners[0].socket.getsockname()[:2])}{PATH.decode()}"
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self._handle, listeners)
            task_status.started(url)

    async def _handle(self, stream: trio.SocketStream) -> None:
        """Answer one connection; whatever its other end does stays here."""
        self._connections += 1
        try:
            async with stream:
                with trio.move_on_after(REQUEST_S) as patience:
                    await _Exchange(stream, self._answer).run(full=self._connections > CONNECTIONS_MAX)
                if patience.cancelled_caught:
                    self._count(408)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._count(408)
        finally:
            self._connections -= 1

    def _count(self, status: int) -> None:
        self.answers[status] += 1
        log.debug("a request for metrics ended with status %d", status)

    def _answer(self, status: int, request: h11.Request | None) -> tuple[int, bytes, list[tuple[str, str]]]:
        """Status, body and further headers of the answer; a good request comes with status 200."""
        headers: list[tuple[str, str]] = []
        if request is not None and status == 200:
            if request.method not in {b"GET", b"HEAD"}:
                status, headers = 405, [("Allow", "GET, HEAD")]
            elif request.target.partition(b"?")[0] != PATH:
                status = 404
        self._count(status)
        if status == 200:
            return status, (self._text() + self._own()).encode(), headers
        return status, f"{status}: only GET {PATH.decode()} is answered here\n".encode(), headers

    def _own(self) -> str:
        name = f"{self._prefix}_metrics_requests_total"
        lines = head(name, "counter", "Requests for metrics over HTTP, by the status of their answers.")
        return "\n".join([*lines, *(f'{name}{{code="{code}"}} {n}' for code, n in sorted(self.answers.items()))]) + "\n"


Answer = Callable[[int, h11.Request | None], tuple[int, bytes, list[tuple[str, str]]]]


class _Exchange:
    """One request and its answer."""

    def __init__(self, stream: trio.SocketStream, answer: Answer) -> None:
        self._stream, self._answer = stream, answer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_MAX)

    async def run(self, *, full: bool) -> None:
        """Read the request and answer it.

        Args:
            full: others are enough already.
        """
        if full:
            await self._send(503, None)
            return
        try:
            event = await self._next()
            if isinstance(event, h11.Request):
                await self._send(200, event)
            else:  # hung up before it said what it wants
                self._answer(408, None)
        except h11.RemoteProtocolError as error:
            await self._send(error.error_status_hint, None)

    async def _next(self) -> object:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._http.receive_data(await self._stream.receive_some(CHUNK))

    async def _send(self, status: int, request: h11.Request | None) -> None:
        status, body, headers = self._answer(status, request)
        fields = [("Content-Type", _TEXT), ("Content-Length", str(len(body))), ("Connection", "close"), *headers]
        data = self._http.send(h11.Response(status_code=status, headers=fields)) or b""
        if request is None or request.method != b"HEAD":
            data += self._http.send(h11.Data(data=body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        await self._stream.send_all(data)
        if request is None:
            await self._linger()

    async def _linger(self) -> None:
        with trio.move_on_after(LINGER_S):
            await self._stream.send_eof()
            for _ in range(REQUEST_MAX // CHUNK):
                if not await self._stream.receive_some(CHUNK):
                    return
