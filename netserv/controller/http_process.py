"""HTTP for the node by confined processes: each request has one of its own, without privileges (`fetch_child`).

The node trusts nothing that comes from it: how much it reads, how long it waits and whom the request may reach are
decided here; the process is ended when its time is over.
"""

import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec
import trio

from netserv.controller import fetch_child
from netserv.controller.fetch_filter import download_filter
from netserv.controller.turns import Turns
from netserv.errors import NetservError, SystemRefusedError
from netserv.forwarding.filters import Prefix
from netserv.signaling.nslp.codes import Code

log = logging.getLogger(__name__)

UID: Final = 0x4E53_4654
"User and group of the processes: NSFT, far above what accounts have, so that nothing else runs as it."
PROCESSES_MAX: Final = 8
"At a time: half a minute of eight slow servers; 15 MB each."
OF_PUBLISHER_MAX: Final = 2
"Of these, so that one publisher's slow servers leave others theirs."
PAUSE_S: Final = 10.0
"Until a process is tried again that this machine has refused."
GRACE_S: Final = 1.0
"More than the process gives itself."
_FRAME_MAX: Final = fetch_child.CHUNK
_HEAD: Final = 5
_CODES: Final = {
    "forbidden": Code.FORBIDDEN,
    "unreachable": Code.NOT_FOUND,
    "too_large": Code.TOO_LARGE,
    "protocol": Code.BAD_REQUEST,
}


class HttpRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator lets the node reach for its publishers."""

    schemes: tuple[str, ...] = ("http", "https")
    ports: tuple[int, ...] = (80, 443)
    "Below 1,024: a request to the port of another service may do harm there."
    allow: tuple[Prefix, ...] = ()
    "Beside public addresses: private networks of the operator, and what a laboratory needs."
    deny: tuple[Prefix, ...] = ()
    "Never; the node's own addresses are always among them."
    deadline_s: float = 60.0
    "For all of a request; 64 MiB take 9 Mbit/s."
    quiet_s: float = 10.0
    "Longest silence of a server."
    redirects_max: int = 3
    "To the same host."
    authorities: Path | None = None
    "Certificates by which servers are verified, PEM; None: those of the system."
    uid: int = UID
    "User and group of the processes."


class HttpTask(msgspec.Struct, frozen=True, kw_only=True):
    """One request."""

    url: str
    method: str = "GET"
    body: str = ""
    headers: Mapping[str, str] = MappingProxyType({})
    bytes_max: int
    deadline_s: float
    redirects_max: int = 0
    ports: tuple[int, ...] = ()
    "Allowed beside those of the rules."


class HttpError(NetservError):
    """A request was not done.

    Args:
        text: why.
        code: for a publisher.
    """

    def __init__(self, text: str, code: Code) -> None:
        super().__init__(text)
        self.code = code


class HttpProcesses:
    """Makes requests.

    Args:
        rules: of the operator.
        own_addresses: of the node; asked anew each time, since they change.
    """

    def __init__(self, rules: HttpRules, own_addresses: Callable[[], Iterable[str]] = tuple) -> None:
        self._rules = rules
        self._own_addresses = own_addresses
        self._turns = Turns(PROCESSES_MAX, OF_PUBLISHER_MAX)
        self._words = (
            Path(fetch_child.__file__).read_text(encoding="utf-8"),
            str(rules.uid if os.geteuid() == 0 else 0),
            download_filter(platform.machine()).hex(),
        )
        self._spare: trio.Process | None = None
        self._taken = trio.Event()
        self._authorities = "" if rules.authorities is None else _text(rules.authorities)

    async def keep_ready(self) -> None:
        """Have a process ready for the next request, whose start it need not wait for, until cancelled."""
        while True:
            try:
                process = self._spare = await _started(self._words)
            except SystemRefusedError as error:
                log.warning("%s", error)
                await trio.sleep(PAUSE_S)
                continue
            self._taken = trio.Event()
            try:
                await self._taken.wait()
            finally:
                if self._spare is process:
                    self._spare = None
                    await _ended(process)

    @asynccontextmanager
    async def _process(self) -> AsyncIterator[trio.abc.Stream]:
        """What one says to a process that waits for its task, and what it says; it has ended when the context has."""
        process, self._spare = self._spare, None
        self._taken.set()
        if process is None:
            process = await _started(self._words)
        try:
            if process.stdio is None:
                raise SystemRefusedError("a process for a download has no pipes")
            yield process.stdio
        finally:
            await _ended(process)

    @property
    def rules(self) -> HttpRules:
        """Of the operator."""
        return self._rules

    async def request(self, task: HttpTask, user: str, sink: Callable[[bytes], None]) -> int:
        """Do one request for a publisher, when it is his turn.

        Args:
            task: what is asked.
            user: the publisher.
            sink: takes the body, in pieces; what it raises ends the request.

        Returns:
            Bytes of the body.

        Raises:
            HttpError: it was not done; its text says why.
            SystemRefusedError: this machine gives no process.
        """
        async with self._turns.turn(user):
            with trio.move_on_after(task.deadline_s + GRACE_S):
                return await self._done(task, sink)
        raise HttpError(f"{_short(task.url)}: not done within {task.deadline_s:g} s", Code.NOT_FOUND)

    async def _done(self, task: HttpTask, sink: Callable[[bytes], None]) -> int:
        size = 0
        async with self._process() as talk:
            with suppress(trio.BrokenResourceError):  # it has ended; what it said before is read
                await talk.send_all(self._said(task))
            reader = _Frames(talk, task.url)
            while True:
                kind, data = await reader.next()
                if kind == b"d":
                    size += len(data)
                    if size > task.bytes_max:
                        raise HttpError(f"{_short(task.url)}: more than {task.bytes_max} bytes", Code.TOO_LARGE)
                    sink(data)
                elif kind == b"e":
                    return size
                elif kind == b"x":
                    raise _refused(task.url, data)

    def _said(self, task: HttpTask) -> bytes:
        rules = self._rules
        deny = [*map(str, rules.deny), *self._own_addresses()]
        said = {
            **msgspec.structs.asdict(task),
            "headers": dict(task.headers),
            "ports": [*rules.ports, *task.ports],
            "schemes": list(rules.schemes),
            "allow": list(map(str, rules.allow)),
            "deny": deny,
            "quiet_s": min(rules.quiet_s, task.deadline_s),
            "authorities": self._authorities,
        }
        return json.dumps(said).encode() + b"\n"


class _Frames:
    """Takes apart what a process writes."""

    def __init__(self, stream: trio.abc.ReceiveStream, url: str) -> None:
        self._stream, self._url = stream, url
        self._held = b""

    async def next(self) -> tuple[bytes, bytes]:
        """The next frame.

        Raises:
            HttpError: there is none, or it is strange.
        """
        head = await self._take(_HEAD)
        length = int.from_bytes(head[1:], "big")
        if head[:1] not in b"rdex" or length > _FRAME_MAX:
            raise HttpError(f"{_short(self._url)}: the process for it has said rubbish", Code.ERROR)
        return head[:1], await self._take(length)

    async def _take(self, size: int) -> bytes:
        while len(self._held) < size:
            data = await self._stream.receive_some(_FRAME_MAX)
            if not data:
                raise HttpError(f"{_short(self._url)}: the process for it ended", Code.ERROR)
            self._held += data
        taken, self._held = self._held[:size], self._held[size:]
        return taken


async def _started(words: tuple[str, ...]) -> trio.Process:
    try:
        return await trio.lowlevel.open_process(
            [sys.executable, "-I", "-S", "-c", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"LANG": "C.UTF-8", "RES_OPTIONS": "timeout:2 attempts:2"},
            start_new_session=True,
        )
    except OSError as error:
        raise SystemRefusedError(f"no process for a download: {error.strerror or error}") from error


async def _ended(process: trio.Process) -> None:
    with trio.CancelScope(shield=True):  # a killed process is gone at once
        process.kill()
        await process.wait()
        if process.stdio is not None:
            await trio.aclose_forcefully(process.stdio)


def _refused(url: str, data: bytes) -> HttpError:
    kind, _, text = data.decode(errors="replace").partition(" ")
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return HttpError(f"{_short(url)}: {shown[:300]}", _CODES.get(kind, Code.ERROR))


def _short(url: str) -> str:
    return url if len(url) <= 100 else url[:100] + "..."


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise SystemRefusedError(f"certificates {path}: {getattr(error, 'strerror', None) or 'not PEM'}") from error
