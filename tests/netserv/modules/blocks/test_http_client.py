"""The HTTP client over streams in memory; the server is lines of the test."""

import pytest
import trio
import trio.testing

from netserv.errors import LocalProtocolError, NetservError, RemoteProtocolError, UnreachableError
from netserv.modules.blocks.http_client import Answer, HttpClient
from netserv.modules.blocks.xml_rpc import XmlRpcClient, read_call, write_result


class Server(trio.abc.Stream):
    """A connection on which given bytes come, and perhaps its end."""

    def __init__(self, answer: bytes, *, close: bool = True) -> None:
        self.answer, self.close = answer, close
        self.asked = b""
        self.to: tuple[str, int] | None = None

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        self.to = host, port
        return self

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.asked += data

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data, self.answer = self.answer[:max_bytes], self.answer[len(self.answer[:max_bytes]) :]
        if not data and not self.close:
            await trio.sleep_forever()
        return data

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def get(self, url: str = "http://example.org:8080/a?b=c", **more: object) -> Answer:
        return await HttpClient(self.connect).get(url, **more)  # type: ignore[arg-type]


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 5\r\nX-A: 1\r\nx-a: 2\r\n\r\nhello",
        OK + b"X-A: 1, 2\r\n\r\nhello",
        OK + b"X-A: 1, 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"X-A: 1, 2\r\n\r\nhello",
    ],
)
async def test_an_answer_is_read_in_all_its_forms(answer: bytes) -> None:
    server = Server(answer)
    got = await server.get(headers=[("accept", "text/plain")])
    assert (got.status, got.body, got.headers["x-a"]) == (200, b"hello", "1, 2")
    assert server.to == ("example.org", 8080)
    assert server.asked.startswith(b"GET /a?b=c HTTP/1.1\r\nhost: example.org:8080\r\naccept: text/plain\r\n")


async def test_a_redirect_is_an_answer() -> None:
    got = await Server(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n").get()
    assert (got.status, got.headers["location"]) == (302, "http://127.0.0.1/")


@pytest.mark.parametrize(
    ("answer", "kind", "why"),
    [
        (b"", RemoteProtocolError, "without|closed|peer"),
        (b"rubbish\r\n\r\n", RemoteProtocolError, "illegal"),
        (OK + b"Content-Length: 5\r\n\r\nhel", RemoteProtocolError, "peer closed"),
        (OK + b"Content-Length: 5000\r\n\r\n" + bytes(5_000), RemoteProtocolError, "more than 1000 bytes"),
        (OK + b"X: " + bytes(b"a" * 40_000), RemoteProtocolError, "too long|receive buffer"),
    ],
)
async def test_strange_answers_are_one_error(answer: bytes, kind: type[NetservError], why: str) -> None:
    with pytest.raises(kind, match=why):
        await Server(answer).get(body_max=1_000)


async def test_an_answer_that_does_not_end_is_given_up(clock: trio.testing.MockClock) -> None:
    with pytest.raises(UnreachableError, match="no whole answer in 30 s"):
        await Server(OK, close=False).get()


@pytest.mark.parametrize(
    "url",
    [
        *("", "ftp://a/", "https://a/", "http://", "http://u:p@a/", "http://a:x/", "http://a:99999/"),
        *("http://a/ X", "http://a/" + "a" * 2_048, "file:///etc/passwd", "http://a/\u20ac"),
    ],
)
async def test_other_urls_are_refused(url: str) -> None:
    server = Server(OK)
    with pytest.raises(LocalProtocolError):
        await server.get(url)
    assert server.to is None


async def test_no_header_is_smuggled_in() -> None:
    with pytest.raises(LocalProtocolError):
        await Server(OK).get(headers=[("a", "b\r\nc: d")])


async def test_a_body_is_posted() -> None:
    server = Server(OK + b"Content-Length: 0\r\n\r\n")
    await HttpClient(server.connect).post("http://a/", b"data")
    assert server.to == ("a", 80)
    assert b"content-length: 4\r\n" in server.asked
    assert server.asked.endswith(b"\r\n\r\ndata")


async def test_xml_rpc_goes_by_it() -> None:
    document = write_result([1, "x"])
    server = Server(OK + b"Content-Length: %d\r\n\r\n" % len(document) + document)
    client = XmlRpcClient(HttpClient(server.connect), "http://a/RPC2")
    assert await client.call("netserv.installed", "alice", 200) == [1, "x"]
    assert read_call(server.asked.partition(b"\r\n\r\n")[2]) == ("netserv.installed", ["alice", 200])
    failing = Server(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(RemoteProtocolError, match="status 500"):
        await XmlRpcClient(HttpClient(failing.connect), "http://a/RPC2").call("a")
