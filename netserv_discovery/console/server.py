"""The console's HTTP server: the page, its events, and the same as JSON for scripts. This machine's browsers only.

What protects it: it listens on the loopback interface; it answers only to its own names, so that a foreign name which
has come to point here (DNS rebinding) reads nothing; it only answers GET and HEAD, and changes nothing; it lets no page
of another site read or frame it (no CORS headers, `Sec-Fetch-Site`, `Cross-Origin-Resource-Policy`); and its page may
run and load nothing but what it came with (`Content-Security-Policy` with hashes).
"""

import logging
from collections import Counter
from typing import Any, Final

import msgspec
import trio

from dhtboot.ids import Address, format_address
from mdht.http_io import LOOPBACK, Answer, HttpConfig, HttpServer, Request, Send, Stream
from netserv_discovery.console.page import Page
from netserv_discovery.console.picture import Change, Picture, View
from netserv_discovery.console.readers import READERS_MAX, Readers

log = logging.getLogger(__name__)

HEARTBEAT_S: Final = 15.0
"Without news a comment is sent: each end notices that the other is gone (HTML standard, server-sent events)."
RETRY_MS: Final = 1_000
"After which a page whose stream has ended asks again."
CONFIG: Final = HttpConfig(what="the console", option="--port", connections_max=READERS_MAX + 16)
"Connections: those who follow, and some for pages and scripts."
_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream"
_HEADERS: Final = (
    ("Cache-Control", "no-store"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
_NOTHING: Final = ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")


class ConsoleServer:
    """Serves the console.

    Args:
        page: the page.
        settings: what the page is told besides the picture.
    """

    def __init__(self, page: Page, settings: dict[str, Any]) -> None:
        self._page, self._settings = page, settings
        self._picture, self.readers = Picture(), Readers()
        self._hosts: frozenset[str] = frozenset()
        self.http = HttpServer(self, CONFIG)
        self.answers: Counter[int] = Counter()
        "By status code; 408 stands for what never became a request."

    async def serve(self, port: int, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer until cancelled; says the URL when it listens.

        Raises:
            LocalProtocolError: the port cannot be used.
        """

        def started(where: Address) -> None:
            self.listens_at(where[1])
            task_status.started(f"http://{format_address(where)}/")

        await self.http.serve((LOOPBACK, port), started)

    def listens_at(self, port: int) -> None:
        """Answer to these names from now on."""
        names = (LOOPBACK, "localhost")
        # A browser leaves out the port that is usual (RFC 9110 section 7.2).
        self._hosts = frozenset([*(f"{name}:{port}" for name in names), *(names if port == 80 else ())])

    def show(self, source: str, title: str, view: View) -> None:
        """Show what a source sees now, to all who follow."""
        change = self._picture.update(source, title, view)
        if change is not None:
            self.readers.tell(_event("change", change))

    def answer(self, request: Request) -> Answer | Stream:
        """Answer a sound request."""
        if request.headers.get("host", "").lower() not in self._hosts:
            return self._refusal(421, f"ask for it by its own name, {min(self._hosts, default='none')}")
        if request.method not in {"GET", "HEAD"}:
            return self._refusal(405, "only GET is answered here", ("Allow", "GET, HEAD"))
        if _from_elsewhere(request, self._hosts):
            return self._refusal(403, "pages of other sites may not read this")
        match request.path:
            case "/":
                self._count(200)
                policy = ("Content-Security-Policy", self._page.policy)
                return Answer(
                    status=200,
                    body=self._page.html,
                    content_type="text/html; charset=utf-8",
                    headers=(*_HEADERS, policy),
                )
            case "/state":
                self._count(200)
                body = msgspec.json.encode(self._whole())
                return Answer(status=200, body=body, content_type=_JSON, headers=(*_HEADERS, _NOTHING))
            case "/events" if self.readers.full:
                return self._refusal(503, f"{READERS_MAX} pages are open already", ("Retry-After", "5"))
            case "/events":
                self._count(200)
                return Stream(write=self._follow, content_type=_EVENTS, headers=(*_HEADERS, _NOTHING))
            case _:
                return self._refusal(404, "here are /, /events and /state")

    def refuse(self, status: int) -> Answer:
        """Answer what is no request."""
        return self._refusal(status, "this cannot be answered now" if status == 503 else "this is no request")

    def _refusal(self, status: int, why: str, *headers: tuple[str, str]) -> Answer:
        self._count(status)
        return Answer(status=status, body=f"{status}: {why}\n".encode(), headers=(*_HEADERS, _NOTHING, *headers))

    def _count(self, status: int) -> None:
        self.answers[status] += 1
        log.debug("a request ended with status %d", status)

    def _whole(self) -> dict[str, Any]:
        return {"settings": self._settings, "parts": self._picture.whole()}

    async def _follow(self, send: Send) -> None:
        """Send the whole picture, then what changes, as long as the reader keeps up."""
        if self.readers.full:  # others came in the same moment
            return
        with self.readers.joined() as events:
            # Both in one step: no change is between them.
            await send(f"retry: {RETRY_MS}\n\n".encode() + _event("whole", self._whole()))
            while True:
                event = b": still here\n\n"
                with trio.move_on_after(HEARTBEAT_S):
                    event = await events.receive()
                await send(event)


def _event(name: str, data: Change | dict[str, Any]) -> bytes:
    """One event; JSON has no line feed outside texts, and those inside are escaped."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))


def _from_elsewhere(request: Request, hosts: frozenset[str]) -> bool:
    """Whether a page of another site asks; to follow a link to the console is not to read it."""
    origin = request.headers.get("origin")
    if origin is not None and origin.lower().removeprefix("http://") not in hosts:
        return True
    site = request.headers.get("sec-fetch-site", "none")
    follows = (
        request.headers.get("sec-fetch-mode") == "navigate" and request.headers.get("sec-fetch-dest") == "document"
    )
    return site not in {"none", "same-origin"} and not (follows and request.path == "/")
