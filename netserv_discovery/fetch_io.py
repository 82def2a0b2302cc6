"""Fetching a bundle over HTTP or HTTPS: bounded, its digest taken on the way, the file there as a whole or not at all.

The only file that imports `http.client`. It blocks, so it runs in a thread, and is told to end by an event.
"""

import hashlib
import hmac
import http.client
import os
import secrets
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Annotated, Final

import msgspec
import trio

from netserv_discovery.errors import LocalProtocolError, RemoteProtocolError, UnreachableError
from netserv_discovery.index import SCHEMES, SIZE_MAX, IndexRecord, check_url

CHUNK: Final = 65_536
QUIET_S: Final = 10.0
"Longest silence of a server."
WHOLE_S: Final = 600.0
"For the whole bundle: one that comes slower than 100 KB a second is not worth the connection."
SHOWN_MAX: Final = 200
"Characters of what a server says that are repeated."
_PORTS: Final = dict(zip(SCHEMES, (443, 80), strict=True))


class FetchRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the operator lets this machine fetch; a file of rules is TOML with these names."""

    hosts: tuple[str, ...] = ()
    "Names and numeric addresses, `.example.org` for all below it, or `*`; none: nothing is fetched."
    schemes: tuple[str, ...] = ("https",)
    size_max: Annotated[int, msgspec.Meta(ge=1, le=SIZE_MAX)] = SIZE_MAX
    "Bytes."


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What was fetched."""

    url: str
    path: str
    size: int
    elapsed_s: float


def parse_rules(text: str) -> FetchRules:
    """The rules of a TOML text: `hosts`, `schemes`, `size_max`.

    Raises:
        LocalProtocolError: it says something else.
    """
    try:
        rules = msgspec.toml.decode(text, type=FetchRules)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise LocalProtocolError(f"not rules of what may be fetched: {error}") from error
    if not set(rules.schemes) <= set(SCHEMES):
        raise LocalProtocolError(f"schemes are {' and '.join(SCHEMES)}, not {', '.join(rules.schemes)}")
    return rules


def allowed(url: str, rules: FetchRules) -> urllib.parse.SplitResult:
    """Return a URL's parts, if the operator lets it be fetched.

    Raises:
        LocalProtocolError: he does not, or it is none; the text says which rule.
    """
    parts = urllib.parse.urlsplit(check_url(url))
    if parts.scheme not in rules.schemes:
        raise LocalProtocolError(f"{url}: the policy allows {', '.join(rules.schemes) or 'no scheme'} only")
    host = parts.hostname or ""
    if not any(_matches(host, pattern.lower()) for pattern in rules.hosts):
        raise LocalProtocolError(f"{url}: the policy does not allow the host {host}; allow it, or fetch it by hand")
    return parts


async def fetch(bundle: IndexRecord, target: Path, rules: FetchRules, *, replace: bool = False) -> Fetched:
    """Fetch a bundle from the first of its URLs that has it.

    Args:
        bundle: what is wanted.
        target: file to write, which appears when all of it is there and its digest is right.
        rules: of the operator.
        replace: a file of that name that is there already.

    Raises:
        LocalProtocolError: the policy forbids it, or the file cannot be written.
        RemoteProtocolError: what a server sent is not the bundle.
        UnreachableError: no server has it.
    """
    if bundle.size > rules.size_max:
        raise LocalProtocolError(f"a bundle of {bundle.size} bytes; the policy allows {rules.size_max}")
    if not replace and await trio.Path(target).exists():
        raise LocalProtocolError(f"{target} is there already; name another file with --output, or pass --replace")
    problems: list[RemoteProtocolError | UnreachableError | LocalProtocolError] = []
    for url in bundle.urls:
        try:
            parts = allowed(url, rules)
            return await _from(url, parts, bundle, target)
        except (LocalProtocolError, RemoteProtocolError, UnreachableError) as error:
            problems.append(error)
    if not problems:
        raise UnreachableError("the index names no URL of it")
    if len(problems) == 1:
        raise problems[0]
    raise UnreachableError("; ".join(map(str, problems)))


async def _from(url: str, parts: urllib.parse.SplitResult, bundle: IndexRecord, target: Path) -> Fetched:
    begun = time.monotonic()
    ends = threading.Event()
    try:
        await trio.to_thread.run_sync(_blocking, parts, bundle, target, ends, abandon_on_cancel=True)
    finally:
        ends.set()
    return Fetched(url=url, path=str(target), size=bundle.size, elapsed_s=time.monotonic() - begun)


def _blocking(parts: urllib.parse.SplitResult, bundle: IndexRecord, target: Path, ends: threading.Event) -> None:
    where = parts.geturl()
    try:
        connection = _connection(parts)
        try:
            path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
            connection.request("GET", path, headers={"Accept-Encoding": "identity", "User-Agent": "netserv-discovery"})
            with closing(connection.getresponse()) as response, _draft(target) as (file, keep):
                _check_head(where, response, bundle)
                _copy(where, response, bundle, file, ends)
                if not ends.is_set():
                    keep()
        finally:
            connection.close()
    except http.client.HTTPException as error:
        raise RemoteProtocolError(f"{where}: not HTTP: {type(error).__name__} {error}") from error
    except OSError as error:
        raise UnreachableError(f"{where}: {error.strerror or error}") from error


def _connection(parts: urllib.parse.SplitResult) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port or _PORTS[parts.scheme], timeout=QUIET_S)


def _check_head(where: str, response: http.client.HTTPResponse, bundle: IndexRecord) -> None:
    if 300 <= response.status < 400:
        # It may lead to a host that the operator does not allow; its index record should say where the bundle is.
        there = response.headers.get("Location", "elsewhere")[:SHOWN_MAX]
        raise UnreachableError(f"{where}: sends us to {there!r}, and redirects are not followed")
    if response.status != 200:
        raise UnreachableError(f"{where}: status {response.status}")
    if response.length is not None and response.length != bundle.size:
        raise RemoteProtocolError(f"{where}: {response.length} bytes, where the index says {bundle.size}")


def _copy(
    where: str, response: http.client.HTTPResponse, bundle: IndexRecord, file: IO[bytes], ends: threading.Event
) -> None:
    digest, size, deadline = hashlib.sha256(), 0, time.monotonic() + WHOLE_S
    while data := response.read1(CHUNK):
        size += len(data)
        if size > bundle.size:
            raise RemoteProtocolError(f"{where}: more than the {bundle.size} bytes that the index says")
        if ends.is_set():  # nobody waits for it any more
            return
        if time.monotonic() > deadline:
            raise UnreachableError(f"{where}: not done within {WHOLE_S:g} s")
        digest.update(data)
        file.write(data)
    if size != bundle.size:
        raise RemoteProtocolError(f"{where}: {size} bytes, where the index says {bundle.size}")
    if not hmac.compare_digest(digest.digest(), bundle.digest):
        raise RemoteProtocolError(f"{where}: its SHA-256 is {digest.hexdigest()}, not that of the index")


@contextmanager
def _draft(target: Path) -> Iterator[tuple[IO[bytes], "_Keep"]]:
    """A file beside the target, that becomes the target if it is kept and is removed else."""
    draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except OSError as error:
        raise LocalProtocolError(f"{target}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            keep = _Keep(file, draft, target)
            yield file, keep
    finally:
        draft.unlink(missing_ok=True)


class _Keep:
    """Lets a draft take the place of its target."""

    def __init__(self, file: IO[bytes], draft: Path, target: Path) -> None:
        self._file, self._draft, self._target = file, draft, target

    def __call__(self) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._draft.replace(self._target)
        except OSError as error:
            raise LocalProtocolError(f"{self._target}: {error.strerror}") from error


def _matches(host: str, pattern: str) -> bool:
    if pattern in {"*", host}:
        return True
    return pattern.startswith(".") and len(pattern) > 1 and host.endswith(pattern)
