"""One HTTP request in a process of its own, without privileges: what talks to foreign servers for the node.

It is started from its source by `http_process`, imports nothing of the suite, and all else that it needs while the
interpreter's files can still be read (they may be root's alone); then it becomes another user, gives up what it may do,
and reads its task. Every address that a name has is judged, and the connection goes to one of those that were judged,
so that a name that changes in between (DNS rebinding) leads nowhere else. Frames go to standard output, each a byte of
kind and a length of four: `r` ready, `d` data of the body, `e` the end, `x` a refusal, with a word that says of what
kind.
"""

import ctypes
import encodings.idna  # what getaddrinfo would import when it is too late
import fcntl
import http.client
import ipaddress
import json
import os
import resource
import select
import signal
import socket
import ssl
import struct
import sys
import time
from typing import Any, Final, TypeAlias
from urllib.parse import SplitResult, urljoin, urlsplit

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Prefix: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

TASK_MAX: Final = 1 << 20
"Bytes; most of it would be certificates of authorities."
CHUNK: Final = 65_536
ADDRESSES_MAX: Final = 16
"That a name may have; each is judged, and four are tried."
TRIED_MAX: Final = 4
MEMORY_BYTES: Final = 512 << 20
"Of address space, mostly libraries; nothing is kept of what comes."
CPU_S: Final = 30
DESCRIPTORS: Final = 64
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_PORTS: Final = {"http": 80, "https": 443}
_PUBLIC_6: Final = ipaddress.IPv6Network("2000::/3")
"Global unicast (RFC 4291 section 2.4); what translates to IPv4 elsewhere (RFC 6052) is none of it."
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_MODE_FILTER: Final = 2


class RefusedError(Exception):
    """The task is not done.

    Args:
        kind: `forbidden`, `unreachable`, `too_large` or `protocol`.
        text: why.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def confine(uid: int, calls: bytes) -> None:
    """Become another user, and give up what is not needed to send one request.

    Args:
        uid: user and group; 0 stays what it is, for a node that is not root's.
        calls: filter of system calls, as the kernel takes it (`fetch_filter`).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)  # no capability is left
    for option, value in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_DUMPABLE, 0)):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"prctl {option}")
    for kind, most in (
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, DESCRIPTORS),
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_AS, MEMORY_BYTES),
    ):
        resource.setrlimit(kind, (most, most))
    code = ctypes.create_string_buffer(calls, len(calls))
    program = struct.pack("@HP", len(calls) // 8, ctypes.addressof(code))  # struct sock_fprog
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, program, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no filter of system calls")


def judged(address: Address, allow: list[Prefix], deny: list[Prefix]) -> str | None:
    """Why an address is not connected to; None if it may be.

    Args:
        address: as a name has been resolved to.
        allow: prefixes that the operator opens beside what is public.
        deny: what is never connected to, such as the node's own addresses.
    """
    for one in (address, *_embedded(address)):
        if any(one.version == prefix.version and one in prefix for prefix in deny):
            return f"{address} is the node's own address, or its operator denies it"
        if any(one.version == prefix.version and one in prefix for prefix in allow):
            continue
        if not _is_public(one):
            return f"{address} is no public address"
    return None


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return True  # what is in it is judged by itself
        return address in _PUBLIC_6 and address.is_global
    return address.is_global and not address.is_multicast and not address.is_reserved


def _embedded(address: Address) -> list[Address]:
    """IPv4 addresses that packets to an IPv6 address may end at."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    teredo = address.teredo or (None, None)
    return [one for one in (address.ipv4_mapped, address.sixtofour, *teredo) if one is not None]


def checked_url(url: str, task: dict[str, Any]) -> SplitResult:
    """The parts of a URL that may be asked for.

    Raises:
        RefusedError: its scheme, host or port may not.
    """
    try:
        parts = urlsplit(url)
        port = port_of(parts)
    except ValueError:
        raise RefusedError("forbidden", "no URL") from None
    if parts.scheme not in task["schemes"]:
        raise RefusedError("forbidden", f"scheme {parts.scheme[:20]!r} is not among {' '.join(task['schemes'])}")
    if not parts.hostname or "@" in parts.netloc or "%" in parts.netloc or "\\" in url:
        raise RefusedError("forbidden", "its host is not a plain name or address")
    if port not in task["ports"] and port < 1_024:
        raise RefusedError("forbidden", f"port {port} belongs to another service")
    return parts


def port_of(parts: SplitResult) -> int:
    """The port that a URL leads to.

    Raises:
        ValueError: that is no port.
    """
    return parts.port or _PORTS.get(parts.scheme, 0)


def next_url(url: str, location: str, task: dict[str, Any]) -> str:
    """Where a redirect leads.

    Raises:
        RefusedError: to another host, or from https to http.
    """
    try:
        there = urljoin(url, location)
        before, after = urlsplit(url), checked_url(there, task)
    except ValueError:
        raise RefusedError("forbidden", "a redirect leads to what is no URL") from None
    if after.hostname != before.hostname:
        raise RefusedError("forbidden", f"a redirect leads to another host, {str(after.hostname)[:64]!r}")
    if before.scheme == "https" and after.scheme != "https":
        raise RefusedError("forbidden", "a redirect leads from https to http")
    return there


def resolved(host: str, port: int, task: dict[str, Any]) -> list[Address]:
    """The addresses of a host, each of them judged.

    Raises:
        RefusedError: there are none, or one of them may not be connected to.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RefusedError("unreachable", f"{host} has no address: {error}") from None
    texts = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if len(texts) > ADDRESSES_MAX:
        raise RefusedError("forbidden", f"{host} has {len(texts)} addresses, more than {ADDRESSES_MAX}")
    allow = [ipaddress.ip_network(text) for text in task["allow"]]
    deny = [ipaddress.ip_network(text) for text in task["deny"]]
    addresses = []
    for text in texts:
        address = ipaddress.ip_address(text.partition("%")[0])
        reason = judged(address, allow, deny)
        if reason is not None:
            raise RefusedError("forbidden", f"{host}: {reason}")
        addresses.append(address)
    return addresses


def connected(parts: SplitResult, task: dict[str, Any], deadline: float) -> socket.socket:
    """A connection to one of the addresses that were judged, with TLS for https.

    Raises:
        RefusedError: none answers, or the certificate is not the host's.
    """
    host, port = parts.hostname or "", port_of(parts)
    failure = "no address"
    for address in resolved(host, port, task)[:TRIED_MAX]:
        quiet_s = min(task["quiet_s"], deadline - time.monotonic())
        if quiet_s <= 0.0:
            break
        try:
            sock = socket.create_connection((str(address), port), timeout=quiet_s)
        except OSError as error:
            failure = f"{address}: {error.strerror or error}"
            continue
        if parts.scheme != "https":
            return sock
        context = ssl.create_default_context(cadata=task["authorities"] or None)
        try:
            return context.wrap_socket(sock, server_hostname=host)
        except OSError as error:  # ssl.SSLError is one
            sock.close()
            raise RefusedError("unreachable", f"{host}: TLS: {error}") from None
    raise RefusedError("unreachable", f"{host}: {failure}")


def declared_length(response: http.client.HTTPResponse, task: dict[str, Any]) -> int | None:
    """How many bytes a body has, as its head says; None if it does not.

    Raises:
        RefusedError: too many, or the head says what cannot be.
    """
    encodings = response.headers.get_all("Content-Encoding") or []
    if any(encoding.strip().lower() not in {"", "identity"} for encoding in encodings):
        raise RefusedError("protocol", "the body is compressed, which was not asked for")
    transfer = response.headers.get_all("Transfer-Encoding") or []
    if [value.strip().lower() for value in transfer] not in ([], ["chunked"]):
        raise RefusedError("protocol", "a transfer encoding that was not asked for")
    lengths = {value.strip() for value in response.headers.get_all("Content-Length") or []}
    if not lengths:
        return None
    length = lengths.pop()
    if lengths or transfer or not (length.isascii() and length.isdigit()) or len(length) > 15:
        raise RefusedError("protocol", "its Content-Length is not one number, or stands beside chunks")
    if int(length) > task["bytes_max"]:
        raise RefusedError("too_large", f"{length} bytes, more than {task['bytes_max']}")
    return int(length)


def perform(task: dict[str, Any], deadline: float) -> None:
    """Do a task, and write what comes.

    Raises:
        RefusedError: it is not done.
    """
    url = task["url"]
    for _hop in range(task["redirects_max"] + 1):
        parts = checked_url(url, task)
        with connected(parts, task, deadline) as sock:
            response = _answered(parts, sock, task)
            if response.status not in _REDIRECTS:
                _pass_on(response, task, deadline, sock)
                return
            location = response.headers.get("Location", "")
        if not task["redirects_max"]:
            raise RefusedError("forbidden", "it redirects, which is not followed")
        url = next_url(url, location, task)
    raise RefusedError("unreachable", f"more than {task['redirects_max']} redirects")


def _answered(parts: SplitResult, sock: socket.socket, task: dict[str, Any]) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(parts.hostname or "", port_of(parts))
    connection.sock = sock
    headers = {
        "Host": parts.netloc,
        "Accept-Encoding": "identity",
        "Cache-Control": "no-cache, no-store",
        "User-Agent": "netserv",
        "Connection": "close",
        **task["headers"],
    }
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request(task["method"], path, body=task["body"].encode() or None, headers=headers)
    return connection.getresponse()


def _pass_on(response: http.client.HTTPResponse, task: dict[str, Any], deadline: float, sock: socket.socket) -> None:
    if not 200 <= response.status < 300:
        raise RefusedError("unreachable", f"the server answers {response.status}")
    if response.status != 200 and task["method"] == "GET":
        raise RefusedError("protocol", f"the server answers {response.status}, not all of it")
    length = declared_length(response, task) if task["method"] == "GET" else 0
    size = 0
    while task["method"] == "GET":
        left_s = deadline - time.monotonic()
        if left_s <= 0.0:
            raise RefusedError("unreachable", "not done in time")
        sock.settimeout(min(task["quiet_s"], left_s))
        data = response.read1(CHUNK)
        if not data:
            break
        size += len(data)
        if size > task["bytes_max"]:
            raise RefusedError("too_large", f"more than {task['bytes_max']} bytes")
        send_frame(b"d", data)
    if length is not None and task["method"] == "GET" and size != length:
        raise RefusedError("protocol", f"{size} bytes came of the {length} that the server announced")
    send_frame(b"e", str(response.status).encode())


def send_frame(kind: bytes, data: bytes) -> None:
    """Write a frame."""
    frame = memoryview(kind + len(data).to_bytes(4, "big") + data)
    while frame:
        frame = frame[os.write(1, frame) :]


def end_with_the_node() -> None:
    """Have the end of the node end this process too: it holds the other end of standard input, and says no more by it.

    Not PR_SET_PDEATHSIG, which goes by the thread that has started a process, and threads of a pool end early.
    """
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)  # SIGIO, which ends a process
    waiting = select.poll()
    waiting.register(0, 0)
    if waiting.poll(0):  # it ended before
        sys.exit(1)


def _out_of_time(*_signal: object) -> None:
    raise RefusedError("unreachable", "not done in time")


def main() -> None:
    """Confine this process, read a task, do it."""
    confine(int(sys.argv[1]), bytes.fromhex(sys.argv[2]))
    send_frame(b"r", b"")
    line = sys.stdin.buffer.readline(TASK_MAX)
    if not line:  # nobody needs this process
        return
    end_with_the_node()
    task = json.loads(line)
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.setitimer(signal.ITIMER_REAL, task["deadline_s"])
    try:
        perform(task, time.monotonic() + task["deadline_s"])
    except RefusedError as error:
        send_frame(b"x", f"{error.kind} {error}".encode()[:1_024])
    except http.client.HTTPException as error:
        send_frame(b"x", f"protocol no HTTP: {type(error).__name__} {error}".encode()[:1_024])
    except (OSError, ValueError) as error:
        send_frame(b"x", f"unreachable {error}".encode()[:1_024])


__all__ = ["encodings"]

if __name__ == "__main__":
    main()
