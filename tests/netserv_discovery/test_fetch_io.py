import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from netserv_discovery.errors import LocalProtocolError, RemoteProtocolError, UnreachableError
from netserv_discovery.fetch_io import FetchRules, allowed, fetch, parse_rules
from netserv_discovery.index import IndexRecord, index_record
from netserv_discovery.versions import Offer

DATA = bytes(range(256)) * 1_000
RULES = FetchRules(hosts=("127.0.0.1",), schemes=("http",))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "http://elsewhere.example/bundle")
            self.end_headers()
            return
        if self.path == "/gone":
            self.send_error(404)
            return
        data = {"/changed": b"x" + DATA[1:], "/short": DATA[:-1]}.get(self.path, DATA)
        self.send_response(200)
        if self.path != "/endless":
            self.send_header("Content-Length", str(len(data) if self.path != "/cut" else len(data) + 1))
        self.end_headers()
        for _ in range(3 if self.path == "/endless" else 1):
            self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()
        thread.join()


def bundle(*urls: str) -> IndexRecord:
    return index_record(
        Offer("Relay", "1.0"),
        bytes(32),
        digest=hashlib.sha256(DATA).digest(),
        size=len(DATA),
        urls=urls,
        issued=0,
        life_s=1,
    )


def test_a_bundle_is_fetched_whole(server: str, tmp_path: Path) -> None:
    target = tmp_path / "bundle.zip"
    fetched = trio.run(fetch, bundle(f"{server}/bundle"), target, RULES)
    assert target.read_bytes() == DATA
    assert (fetched.url, fetched.size) == (f"{server}/bundle", len(DATA))
    assert [each.name for each in tmp_path.iterdir()] == ["bundle.zip"]


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("/changed", RemoteProtocolError, "SHA-256"),
        ("/short", RemoteProtocolError, "bytes, where the index says"),
        ("/endless", RemoteProtocolError, "more than the 256000 bytes"),
        ("/gone", UnreachableError, "status 404"),
        ("/moved", UnreachableError, "redirects are not followed"),
        ("/cut", RemoteProtocolError, "bytes, where the index says"),
    ],
)
def test_what_is_not_the_bundle_leaves_no_file(
    server: str, tmp_path: Path, path: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        trio.run(fetch, bundle(server + path), tmp_path / "bundle.zip", RULES)
    assert list(tmp_path.iterdir()) == []


def test_the_next_url_is_tried_after_one_that_fails(server: str, tmp_path: Path) -> None:
    urls = ("https://other.example/x", f"{server}/gone", f"{server}/changed", f"{server}/bundle")
    fetched = trio.run(fetch, bundle(*urls), tmp_path / "bundle.zip", RULES)
    assert fetched.url == urls[-1]


def test_a_file_that_is_there_stays(server: str, tmp_path: Path) -> None:
    target = tmp_path / "bundle.zip"
    target.write_text("mine")
    with pytest.raises(LocalProtocolError, match="is there already"):
        trio.run(fetch, bundle(f"{server}/bundle"), target, RULES)
    assert target.read_text() == "mine"


def test_a_bundle_larger_than_the_policy_allows_is_not_asked_for(tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError, match="the policy allows 10"):
        trio.run(fetch, bundle("http://127.0.0.1:1/"), tmp_path / "x", FetchRules(hosts=("*",), size_max=10))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://a.example/x", "http or https"),
        ("http://a.example/x", "allows https only"),
        ("file:///etc/passwd", "http or https"),
        ("https://b.example/x", "does not allow the host b.example"),
        ("https://example.org/x", "does not allow the host"),
        ("https://evil-a.example/x", "does not allow the host"),
        ("https://a.example@b.example/x", "without a user"),
        ("https:///x", "a URL is"),
        ("https://a.example:0/", "a URL is"),
        ("https://a.example:99999/", "a URL is"),
        ("https://[::1/", "a URL is"),
        ("https://a.example/\n", "a URL is"),
        ("https://a.example/" + "x" * 3_000, "a URL is"),
    ],
)
def test_what_the_policy_does_not_allow_is_refused(url: str, words: str) -> None:
    with pytest.raises(LocalProtocolError, match=words):
        allowed(url, FetchRules(hosts=("a.example", ".example.org")))


def test_what_the_policy_allows_is_taken() -> None:
    rules = FetchRules(hosts=("A.example", ".example.org", "::1"))
    for url in ("https://a.example/x?y", "https://deep.below.example.org:8443/", "https://[::1]/"):
        assert allowed(url, rules).scheme == "https"


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="Connection refused"):
        trio.run(fetch, bundle("http://127.0.0.1:1/"), tmp_path / "x", RULES)


def test_a_directory_that_is_not_there_is_named(server: str, tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError, match="No such file"):
        trio.run(fetch, bundle(f"{server}/bundle"), tmp_path / "none" / "x", RULES)


def test_rules_are_read_from_toml() -> None:
    text = 'hosts = [".example.org"]\nschemes = ["http", "https"]\nsize_max = 1000\n'
    assert parse_rules(text) == FetchRules(hosts=(".example.org",), schemes=("http", "https"), size_max=1_000)


@pytest.mark.parametrize(
    "text", ["hosts = 1", "host = ['a']", "schemes = ['ftp']", "size_max = 0", "[", "size_max = 1e9"]
)
def test_rules_that_say_something_else_are_refused(text: str) -> None:
    with pytest.raises(LocalProtocolError):
        parse_rules(text)
