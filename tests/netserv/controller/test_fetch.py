"""Downloads from real servers, well-behaved and hostile (abuse cases 20 and 21); loopback is opened by the rules."""

import datetime as dt
import gzip
import hashlib
import os
import platform
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from mdht.signing import SigningKey
from netserv.controller import fetch_child
from netserv.controller.effects import Fetch
from netserv.controller.fetch import fetch
from netserv.controller.fetch_filter import download_filter
from netserv.controller.http_process import UID, HttpError, HttpProcesses, HttpRules, HttpTask
from netserv.controller.spool import Spool
from netserv.signaling.nslp.codes import Code
from tests.netserv.controller.strange_servers import Server, redirect, response, serving

LOOPBACK = HttpRules(allow=(ip_network("127.0.0.0/8"), ip_network("::1/128")), deadline_s=5.0, quiet_s=2.0)
BUNDLE = b"PK" + bytes(range(256)) * 40
ROOM = 1 << 30
DIGEST = hashlib.sha256(BUNDLE).digest()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "bundles")


def wish(url: str, digest: bytes = DIGEST, bytes_max: int = 1 << 20) -> Fetch:
    return Fetch(job=1, user="alice", urls=(url,), digest=digest, bytes_max=bytes_max)


async def refused(effect: Fetch, spool: Spool, rules: HttpRules = LOOPBACK) -> HttpError:
    with pytest.raises(HttpError) as caught:
        await fetch(effect, HttpProcesses(rules), spool, ROOM)
    assert not list(spool._directory.iterdir()), "nothing is left"
    return caught.value


async def test_a_bundle_comes_once(spool: Spool) -> None:
    async with serving(response(BUNDLE)) as server:
        await fetch(wish(server.url()), HttpProcesses(LOOPBACK), spool, ROOM)
        await fetch(wish(server.url()), HttpProcesses(LOOPBACK), spool, ROOM)
    assert spool.path(DIGEST).read_bytes() == BUNDLE
    assert len(server.requests) == 1
    assert b"Accept-Encoding: identity\r\n" in server.requests[0]


async def test_a_bundle_without_a_length_and_in_chunks_comes(spool: Spool) -> None:
    half = len(BUNDLE) // 2
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BUNDLE[:half], BUNDLE[half:], b""))
    for answer in (
        response(BUNDLE, length=False),
        response(b"", "Transfer-Encoding: chunked", length=False) + chunks,
    ):
        async with serving(answer) as server:
            await fetch(wish(server.url()), HttpProcesses(LOOPBACK), spool, ROOM)
        assert spool.path(DIGEST).read_bytes() == BUNDLE
        spool.path(DIGEST).unlink()


async def test_a_bundle_without_room_does_not_come(spool: Spool) -> None:
    async with serving(response(BUNDLE)) as server:
        for room, code in ((0, Code.INSUFFICIENT_STORAGE), (len(BUNDLE) - 1, Code.TOO_LARGE)):
            with pytest.raises(HttpError) as caught:
                await fetch(wish(server.url()), HttpProcesses(LOOPBACK), spool, room)
            assert caught.value.code == code
        await fetch(wish(server.url()), HttpProcesses(LOOPBACK), spool, len(BUNDLE))


async def test_a_damaged_bundle_of_the_spool_is_fetched_again(spool: Spool) -> None:
    spool.path(DIGEST).write_bytes(BUNDLE[:-1])
    async with serving(response(BUNDLE)) as server:
        await fetch(wish(server.url()), HttpProcesses(LOOPBACK), spool, ROOM)
    assert spool.path(DIGEST).read_bytes() == BUNDLE


GZIPPED = gzip.compress(bytes(100_000))


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (response(BUNDLE[:-1]), Code.BAD_REQUEST, "its SHA-256 is"),
        (response(BUNDLE, "Content-Length: 20000", length=False), Code.BAD_REQUEST, "of the 20000 that the server"),
        (response(BUNDLE, "Content-Length: 5"), Code.BAD_REQUEST, "Content-Length is not one number"),
        (response(BUNDLE, "Content-Length: -5", length=False), Code.BAD_REQUEST, "Content-Length is not one number"),
        (response(BUNDLE, "Transfer-Encoding: chunked"), Code.BAD_REQUEST, "stands beside chunks"),
        (response(BUNDLE, "Transfer-Encoding: gzip", length=False), Code.BAD_REQUEST, "a transfer encoding"),
        (response(GZIPPED, "Content-Encoding: gzip"), Code.BAD_REQUEST, "the body is compressed"),
        (response(BUNDLE, "Content-Length: 1048577", length=False), Code.TOO_LARGE, "1048577 bytes, more than 1048576"),
        (response(bytes(1_100_000), length=False), Code.TOO_LARGE, "more than 1048576 bytes"),
        (response(BUNDLE, status="404 Not Found"), Code.NOT_FOUND, "the server answers 404"),
        (response(BUNDLE, status="206 Partial Content"), Code.BAD_REQUEST, "answers 206, not all of it"),
        (b"220 mail.example.org ESMTP\r\n", Code.BAD_REQUEST, "no HTTP"),
        (b"", Code.BAD_REQUEST, "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", Code.BAD_REQUEST, "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000 + b"\r\n", Code.BAD_REQUEST, "no HTTP"),
    ],
)
async def test_what_is_not_the_bundle_is_refused(answer: bytes, code: Code, said: str, spool: Spool) -> None:
    async with serving(answer) as server:
        error = await refused(wish(server.url()), spool)
    assert error.code == code
    assert said in str(error)


async def test_a_slow_server_and_an_endless_one_have_a_deadline(spool: Spool) -> None:
    async def drips(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\n")
        while True:
            await stream.send_all(b"X: y\r\n"[:1])
            await trio.sleep(0.05)

    async def silent(_stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async def continues(stream: trio.SocketStream) -> None:
        while True:
            await stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

    rules = HttpRules(allow=LOOPBACK.allow, deadline_s=0.6, quiet_s=0.6)
    for conduct in (drips, silent, continues):
        async with serving(conduct) as server:
            with trio.fail_after(5.0):
                error = await refused(wish(server.url()), spool, rules)
        assert error.code == Code.NOT_FOUND
    rules = HttpRules(allow=LOOPBACK.allow, deadline_s=4.0, quiet_s=0.2)
    async with serving(silent) as server:
        with trio.fail_after(3.0):
            await refused(wish(server.url()), spool, rules)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "0.0.0.0", "0", "2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "[::]"],
)
async def test_a_node_is_not_led_to_itself(host: str, spool: Spool) -> None:
    async with serving(response(BUNDLE)) as server:
        error = await refused(wish(server.url(host=host)), spool, HttpRules())
    assert error.code == Code.FORBIDDEN
    assert not server.connections


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "gopher://127.0.0.1/x",
        "http://user@127.0.0.1/x",
        "http://127.0.0.1:25/x",
        "http://127.0.0.1:0/x",
        "http://127.0.0.1%25lo/x",
        "http:///x",
        "http://127.0.0.1\\@example.org/",
    ],
)
async def test_strange_urls_are_refused(url: str, spool: Spool) -> None:
    error = await refused(wish(url), spool)
    assert error.code in {Code.FORBIDDEN, Code.NOT_FOUND}


async def test_the_nodes_own_addresses_are_refused_though_their_network_is_open(spool: Spool) -> None:
    async with serving(response(BUNDLE), host="127.0.0.5") as server:
        http = HttpProcesses(LOOPBACK, lambda: ["127.0.0.5"])
        with pytest.raises(HttpError, match="own address"):
            await fetch(wish(server.url()), http, spool, ROOM)
        assert not server.connections
        await fetch(wish(server.url()), HttpProcesses(LOOPBACK), spool, ROOM)


async def test_redirects_stay_with_their_host(spool: Spool) -> None:
    async with serving(response(BUNDLE)) as target:
        async with serving(redirect(target.url())) as server:
            await fetch(wish(server.url()), HttpProcesses(LOOPBACK), spool, ROOM)
        assert spool.path(DIGEST).exists()
        spool.path(DIGEST).unlink()
        for location in (
            target.url(host="127.0.0.2"),
            target.url(host="localhost"),
            "file:///etc/passwd",
            "//example.org/",
            "http://127.0.0.1:25/",
        ):
            async with serving(redirect(location)) as server:
                error = await refused(wish(server.url()), spool)
            assert error.code == Code.FORBIDDEN, location
    async with serving(redirect("/again")) as server:
        assert "more than 3 redirects" in str(await refused(wish(server.url()), spool))
    assert server.connections == 4


async def test_a_process_without_privileges_does_it(spool: Spool) -> None:
    seen: dict[str, str] = {}

    async def looks(stream: trio.SocketStream) -> None:
        seen.update(await trio.to_thread.run_sync(look_at_child))
        await stream.send_all(response(BUNDLE))

    async with serving(looks) as server:
        await fetch(wish(server.url()), HttpProcesses(LOOPBACK), spool, ROOM)
    assert seen["Uid"].split() == seen["Gid"].split() == [str(UID)] * 4
    assert not seen["Groups"].strip()
    assert seen["NoNewPrivs"] == "1"
    assert seen["Seccomp"] == "2"
    assert int(seen["CapEff"], 16) == int(seen["CapPrm"], 16) == int(seen["CapAmb"], 16) == 0
    limits = {line[:26].strip(): line[26:].split()[0] for line in seen["limits"].splitlines()}
    assert limits["Max file size"] == limits["Max processes"] == limits["Max core file size"] == "0"
    assert not list(children()), "it is gone"


def look_at_child() -> dict[str, str]:
    (child,) = children()
    lines = Path(f"/proc/{child}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines) | {"limits": Path(f"/proc/{child}/limits").read_text()}


OTHERS: set[int] = set()
"Children that tests before have left, such as helpers of multiprocessing."


@pytest.fixture(autouse=True)
def _only_own_children() -> None:
    OTHERS.clear()
    OTHERS.update(children())


def children(parent: int | str = "self") -> Iterator[int]:
    for task in Path(f"/proc/{parent}/task").iterdir():
        yield from (pid for pid in map(int, (task / "children").read_text().split()) if pid not in OTHERS)


@asynccontextmanager
async def serving_tls(directory: Path) -> AsyncIterator[tuple[str, Path]]:
    """URL of a server with a certificate of its own for `localhost`, and the file of that."""
    key = SigningKey.generate()
    begins = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    certificate = directory / "certificate.pem"
    certificate.write_bytes(key.certificate("localhost", begins=begins, ends=begins + dt.timedelta(days=2)))
    (directory / "key.pem").write_bytes(key.pem())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, directory / "key.pem")

    async def answer(stream: trio.SSLStream[trio.SocketStream]) -> None:
        with suppress(trio.BrokenResourceError):
            await stream.receive_some(65_536)
            await stream.send_all(response(BUNDLE))
            await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1", https_compatible=True)
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        yield f"https://localhost:{listeners[0].transport_listener.socket.getsockname()[1]}/", certificate
        nursery.cancel_scope.cancel()


async def test_certificates_are_verified(spool: Spool, tmp_path: Path) -> None:
    async with serving_tls(tmp_path) as (url, certificate):
        trusting = msgspec.structs.replace(LOOPBACK, authorities=certificate)
        assert "certificate verify failed" in str(await refused(wish(url), spool))
        numeric = wish(url.replace("localhost", "127.0.0.1"))
        assert "certificate verify failed" in str(await refused(numeric, spool, trusting))
        await fetch(wish(url), HttpProcesses(trusting), spool, ROOM)
    assert spool.path(DIGEST).read_bytes() == BUNDLE


async def test_a_process_that_is_ready_is_used_and_another_one_made_ready(spool: Spool) -> None:
    http = HttpProcesses(LOOPBACK)
    async with serving(response(BUNDLE)) as server, trio.open_nursery() as nursery:
        nursery.start_soon(http.keep_ready)
        with trio.fail_after(10.0):
            while http._spare is None:  # noqa: ASYNC110
                await trio.sleep(0.01)
        first = http._spare
        await fetch(wish(server.url()), http, spool, ROOM)
        assert first.returncode is not None
        with trio.fail_after(10.0):
            while http._spare is None:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert http._spare is not first
        nursery.cancel_scope.cancel()
    assert not list(children())


ATTEMPTS = {
    "nothing": "pass",
    "reading": "open('/etc/hosts')",
    "an address": "socket.getaddrinfo('localhost', 80)",
    "a file": "open('/tmp/made-by-a-download', 'w')",
    "a directory": "os.mkdir('/tmp/made-by-a-download')",
    "a link": "os.symlink('/etc/passwd', '/tmp/made-by-a-download')",
    "a process": "os.fork()",
    "a program": "os.execv('/bin/true', ['true'])",
    "a signal to another": "os.kill(os.getppid(), 0)",
    "a raw socket": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "a socket of vsock": "socket.socket(40, socket.SOCK_STREAM)",
    "memory that is code": "mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)",
    "a listening socket": "socket.create_server(('127.0.0.1', 0))",
    "root": "os.setuid(0)",
    "a namespace": "1 / (1 + ctypes.CDLL(None).unshare(0x10000000))",  # which says -1 when it is refused
    "the node's memory": "open(f'/proc/{os.getppid()}/mem', 'rb')",
}


@pytest.mark.parametrize("what", ATTEMPTS)
def test_what_a_download_does_not_need_it_cannot(what: str) -> None:
    source = Path(fetch_child.__file__).read_text(encoding="utf-8")
    calls = download_filter(platform.machine()).hex()
    # The walls are those of the process; what follows is what an attacker would do who has taken it over.
    attempt = f"confine(int(sys.argv[1]), bytes.fromhex(sys.argv[2]))\n{ATTEMPTS[what]}\nos.write(1, b'done')\n"
    code = source.replace('if __name__ == "__main__":\n    main()', f"import mmap\n{attempt}")
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, str(UID), calls], capture_output=True, check=False)
    if what in {"nothing", "reading", "an address"}:  # the harmless twins
        assert done.stdout == b"done", done.stderr
        return
    assert not done.stdout, what
    assert b"Error" in done.stderr
    assert not Path("/tmp/made-by-a-download").exists()


@pytest.mark.parametrize("asked", [True, False])
async def test_a_process_ends_with_its_node(asked: bool) -> None:
    """Also one whose node was killed while it waited for a server, or for its task."""

    async def silent(_stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    code = (
        "import sys, trio; from tests.netserv.controller.test_fetch import *\n"
        "async def main():\n"
        "    http = HttpProcesses(msgspec.structs.replace(LOOPBACK, quiet_s=60.0))\n"
        "    async with trio.open_nursery() as nursery:\n"
        "        if sys.argv[2]:\n"
        "            task = HttpTask(url=sys.argv[1], bytes_max=9, deadline_s=60.0)\n"
        "            nursery.start_soon(http.request, task, 'alice', print)\n"
        "        else:\n"
        "            nursery.start_soon(http.keep_ready)\n"
        "trio.run(main)\n"
    )
    async with serving(silent) as server:
        words = [sys.executable, "-c", code, server.url(), "x" if asked else ""]
        node = await trio.lowlevel.open_process(words, cwd=Path(__file__).parents[3])
        with trio.fail_after(20.0):
            while not (found := list(children(node.pid))) or (asked and not server.requests):  # noqa: ASYNC110
                await trio.sleep(0.02)
        node.kill()
        await node.wait()
        with trio.fail_after(5.0):
            while any(is_alive(child) for child in found):  # noqa: ASYNC110
                await trio.sleep(0.02)


def is_alive(process: int) -> bool:
    """Whether it runs; one whose new parent has not looked at it yet does not."""
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


async def test_the_node_believes_nothing_of_the_process(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    http = HttpProcesses(LOOPBACK)
    task = HttpTask(url="http://127.0.0.1:9999/", bytes_max=10, deadline_s=0.5)
    for source, said in (
        ("import os; os.write(1, b'z' + bytes(4))", "has said rubbish"),
        ("import os; os.write(1, b'd\\xff\\xff\\xff\\xff')", "has said rubbish"),
        ("import os; os.write(1, b'd' + (20).to_bytes(4, 'big') + bytes(20))", "more than 10 bytes"),
        ("import os; os.write(1, b'd')", "ended"),
        ("", "ended"),
        ("import time; time.sleep(60)", "not done within"),
    ):
        monkeypatch.setattr(http, "_words", (source,))
        with pytest.raises(HttpError, match=said):
            await http.request(task, "alice", lambda _data: None)
    assert not list(children())


async def test_a_publishers_slow_servers_leave_others_theirs(spool: Spool) -> None:
    waits: list[Server] = []

    async def silent(_stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    http = HttpProcesses(LOOPBACK)
    async with serving(silent) as slow, serving(response(BUNDLE)) as server, trio.open_nursery() as nursery:
        waits.append(slow)

        async def bad() -> None:
            with trio.CancelScope():
                await http.request(HttpTask(url=slow.url(), bytes_max=10, deadline_s=30.0), "bob", lambda _data: None)

        for _ in range(20):
            nursery.start_soon(bad)
        await trio.testing.wait_all_tasks_blocked(0.05)
        with trio.fail_after(5.0):
            await fetch(wish(server.url()), http, spool, ROOM)
        assert slow.connections <= 2
        nursery.cancel_scope.cancel()
    assert not list(children())


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("192.0.2.1", False),
        ("198.18.0.1", False),
        ("2606:4700::1", True),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("2001:db8::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::a00:1", False),
        ("64:ff9b:1::1", False),
        ("2002:a00:1::", False),
        ("2002:5db8:d822::", True),
        ("2001:0:5db8:d822::f5ff:fffe", False),
    ],
)
def test_only_public_addresses_are_public(address: str, public: bool) -> None:
    assert (fetch_child.judged(ip_address(address), [], []) is None) == public


@given(st.ip_addresses())
def test_what_is_denied_is_never_opened(address: object) -> None:
    one = ip_address(str(address))
    everything = [ip_network("0.0.0.0/0"), ip_network("::/0")]
    assert fetch_child.judged(one, everything, everything) is not None
    assert fetch_child.judged(one, everything, []) is None


async def test_one_forbidden_address_of_a_name_forbids_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([["93.184.216.34", "127.0.0.1"], ["93.184.216.34"]])
    monkeypatch.setattr(
        "socket.getaddrinfo", lambda *_arguments, **_options: [(0, 0, 0, "", (text, 80)) for text in next(answers)]
    )
    task = {"allow": [], "deny": []}
    with pytest.raises(fetch_child.RefusedError, match="no public address"):
        fetch_child.resolved("example.org", 80, task)
    assert fetch_child.resolved("example.org", 80, task) == [ip_address("93.184.216.34")]


def test_this_is_run_by_root() -> None:
    assert os.geteuid() == 0, "the walls of the process need it, here and on the machine that checks"
