"""Serves a bundle to the nodes that fetch it, and the one-time password by which they see whose traffic it is.

The server is there while a deployment goes on; whoever guesses the address gets the bundle, which is no secret.
"""

import hmac
from collections import Counter
from typing import Final

import trio

from dhtboot.ids import Address, format_address
from mdht.errors import LocalProtocolError as ServerError
from mdht.http_io import Answer, HttpConfig, HttpServer, Request
from netserv.errors import LocalProtocolError

CONFIG: Final = HttpConfig(what="bundle", option="--serve", connections_max=64, request_s=120.0)
"64 nodes of a path at a time, each with two minutes for 64 MiB."
_ZIP: Final = "application/zip"
_TEXT: Final = "text/plain; charset=us-ascii"


class Offer:
    """What is served, by path; it may change meanwhile.

    Args:
        option: of the command line, for the error where an address cannot be used.
    """

    def __init__(self, option: str = CONFIG.option) -> None:
        self._files: dict[str, tuple[bytes, str]] = {}
        self.answers: Counter[int] = Counter()
        "By status code."
        self._http = HttpServer(
            self,
            HttpConfig(
                what=CONFIG.what,
                option=option,
                connections_max=CONFIG.connections_max,
                request_s=CONFIG.request_s,
            ),
        )

    def put_bundle(self, name: str, data: bytes) -> None:
        """Serve a bundle at `/name`."""
        self._files[f"/{name}"] = data, _ZIP

    def put_password(self, path: str, password: str) -> None:
        """Serve a one-time password, in the place of the one before."""
        self._files[path] = password.encode(), _TEXT

    async def serve(
        self, address: Address, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Answer until cancelled; says where.

        Raises:
            LocalProtocolError: the address cannot be used.
        """
        try:
            await self._http.serve(address, task_status.started)
        except ServerError as error:
            raise LocalProtocolError(str(error)) from error

    def answer(self, request: Request) -> Answer:
        """See `Site`."""
        if request.method not in {"GET", "HEAD"}:
            return self._counted(Answer(status=405, body=b"", headers=(("Allow", "GET, HEAD"),)))
        for path, (body, kind) in self._files.items():
            if hmac.compare_digest(path.encode(), request.path.encode()):
                return self._counted(Answer(status=200, body=body, content_type=kind))
        return self._counted(Answer(status=404, body=b""))

    def refuse(self, status: int) -> Answer:
        """See `Site`."""
        return self._counted(Answer(status=status, body=b""))

    def _counted(self, answer: Answer) -> Answer:
        self.answers[answer.status] += 1
        return answer


def url_of(address: Address, name: str) -> str:
    """Where a bundle is."""
    return f"http://{format_address(address)}/{name}"
