"""Numbers of a running program for Prometheus over HTTP: GET /metrics.

Whoever reaches the port may read them, so that it is one of this machine unless another address is given.
"""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

import trio

from dhtboot.ids import Address, format_address
from mdht.http_io import Answer, Headers, HttpConfig, HttpServer, Request
from mdht.prometheus import head

log = logging.getLogger(__name__)

HELP: Final = "serve what `status --prometheus` prints at http://ADDRESS:PORT/metrics (of this machine alone)"
PATH: Final = "/metrics"
CONFIG: Final = HttpConfig(what="metrics", option="--metrics")
"16 connections at a time: a few servers that each ask every some seconds."
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class MetricsServer:
    """Answers requests for metrics.

    Args:
        text: makes the exposition of this moment.
        prefix: of the names of the program's metrics; the server's own counter has it too.
    """

    def __init__(self, text: Callable[[], str], prefix: str) -> None:
        self._text, self._prefix = text, prefix
        self.http = HttpServer(self, CONFIG)
        self.answers: Counter[int] = Counter()
        "By status code; 408 stands for what never became a request."

    async def serve(self, address: Address, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer until cancelled; says the URL when it listens.

        Raises:
            LocalProtocolError: the address cannot be used.
        """
        await self.http.serve(address, lambda where: task_status.started(f"http://{format_address(where)}{PATH}"))

    def answer(self, request: Request) -> Answer:
        """Give the metrics to who asks for them."""
        if request.method not in {"GET", "HEAD"}:
            return self._refusal(405, (("Allow", "GET, HEAD"),))
        if request.path != PATH:
            return self._refusal(404)
        self._count(200)
        return Answer(status=200, body=(self._text() + self._own()).encode(), content_type=_TEXT)

    def refuse(self, status: int) -> Answer:
        """Answer what is no request."""
        return self._refusal(status)

    def _refusal(self, status: int, headers: Headers = ()) -> Answer:
        self._count(status)
        body = f"{status}: only GET {PATH} is answered here\n".encode()
        return Answer(status=status, body=body, content_type=_TEXT, headers=headers)

    def _count(self, status: int) -> None:
        self.answers[status] += 1
        log.debug("a request for metrics ended with status %d", status)

    def _own(self) -> str:
        name = f"{self._prefix}_metrics_requests_total"
        lines = head(name, "counter", "Requests for metrics over HTTP, by the status of their answers.")
        return "\n".join([*lines, *(f'{name}{{code="{code}"}} {n}' for code, n in sorted(self.answers.items()))]) + "\n"
