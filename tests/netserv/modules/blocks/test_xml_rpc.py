import datetime as dt
import xmlrpc.client
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.errors import LocalProtocolError, RemoteProtocolError
from netserv.modules.blocks.http_server import Request
from netserv.modules.blocks.xml_rpc import (
    DOCUMENT_MAX,
    FAILED,
    INVALID_CALL,
    UNKNOWN_METHOD,
    FaultError,
    XmlRpcServer,
    read_call,
    read_result,
    write_call,
    write_fault,
    write_result,
)

TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63) + 1, (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.sampled_from(["a\rb\r\nc", " ", "<&>\t\n"])
    | st.binary(max_size=20)
    | st.datetimes(dt.datetime(1900, 1, 1)).map(lambda when: when.replace(microsecond=0)),  # noqa: DTZ001
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(VALUES, max_size=3))
def test_what_is_written_is_read_again(values: list[Any]) -> None:
    assert read_call(write_call("netserv.installed", *values)) == ("netserv.installed", values)
    assert read_result(write_result(values)) == values


def test_the_library_of_python_understands_it() -> None:
    values = ("alice", 200, -1.5, True, b"\0", [1, {"a": "<b>"}], None)
    parameters, method = xmlrpc.client.loads(write_call("a.b", *values), use_builtin_types=True)
    assert (parameters, method) == (values, "a.b")
    theirs = xmlrpc.client.dumps(values, "a.b", allow_none=True).encode()
    assert read_call(theirs) == ("a.b", list(values))
    theirs = xmlrpc.client.dumps((7,), methodresponse=True).encode()
    assert read_result(theirs) == 7
    with pytest.raises(xmlrpc.client.Fault, match="broken"):
        xmlrpc.client.loads(write_fault(3, "broken"))


def test_a_fault_is_raised() -> None:
    with pytest.raises(FaultError, match=r"fault 3: bad\?") as caught:
        read_result(write_fault(3, "bad\0"))
    assert (caught.value.code, caught.value.text) == (3, "bad?")


LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>
<methodCall><methodName>&b;</methodName></methodCall>"""


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (LAUGHS, "a document type"),
        (LAUGHS.decode().encode("utf-16"), "a document type"),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><methodCall/>', "a document type"),
        (b"<methodCall><methodName>&b;</methodName></methodCall>", "undefined entity"),
        (b"", "no element found"),
        (b"<a/>", "no methodCall"),
        (b"<methodCall/>", "methodCall with 0 methodName, not one"),
        (b"<methodCall><methodName>a b</methodName></methodCall>", "no name of a method"),
        (b'<?xml version="1.0" encoding="no-such"?><methodCall/>', "encoding"),
        (b"x" * (DOCUMENT_MAX + 1), "more than"),
        (write_call("a", 1).replace(b"<int>1", b"<int>" + b"9" * 5000), "int"),
        (write_call("a", 1).replace(b"<int>1", b"<int>9999999999999999999"), "is no value"),
        (write_call("a", 1).replace(b"<int>1", b"<int>"), "is no value"),
        (write_call("a", 1).replace(b"int>", b"integer>"), "integer '1' is no value"),
        (write_call("a", True).replace(b"<boolean>1", b"<boolean>2"), "is no value"),
        (write_call("a", 1.5).replace(b"1.5", b"x"), "double 'x'"),
        (write_call("a", b"x").replace(b"eA==", b"eA"), "base64"),
        (write_call("a", 1).replace(b"<int>1</int>", b"<int>1</int><int>2</int>"), "a value of 2 things"),
        (write_call("a", 1).replace(b"<int>1</int>", b"<array/>"), "array with 0 data"),
        (
            write_call("a", 1).replace(b"<int>1</int>", b"<array><data><value>" * 17 + b"</value></data></array>" * 17),
            "deep",
        ),
    ],
)
def test_strange_documents_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        read_call(data)


def test_strange_answers_are_refused() -> None:
    for data in (
        b"<methodResponse/>",
        b"<methodResponse><fault><value>x</value></fault></methodResponse>",
        write_fault(1, "x").replace(b"<int>1</int>", b"<int>x</int>"),
        write_fault(1, "x").replace(b"faultCode", b"code"),
    ):
        with pytest.raises(RemoteProtocolError):
            read_result(data)


@pytest.mark.parametrize("value", [1 << 63, float("nan"), "\0", "\ud800", object(), {1: 2}, {"\0": 1}, {1}])
def test_what_it_does_not_have_is_not_written(value: Any) -> None:
    with pytest.raises(LocalProtocolError, match="XML-RPC has no"):
        write_result(value)


def test_depth_and_size_are_bounded() -> None:
    deep: Any = 1
    for _ in range(20):
        deep = [deep]
    with pytest.raises(LocalProtocolError, match="deeper than 16"):
        write_result(deep)
    with pytest.raises(LocalProtocolError, match="are possible"):
        write_result("x" * DOCUMENT_MAX)
    with pytest.raises(LocalProtocolError, match="no name of a method"):
        write_call("a b")


@given(st.binary(max_size=80), st.integers(0, 400), st.integers(0, 30))
def test_any_bytes_are_a_call_or_refused(some: bytes, at: int, removed: int) -> None:
    good = write_call("a", 1, "x", {"a": [1.5, True]}, b"x")
    for data in (some, good[:at] + some + good[at + removed :]):
        with suppress(RemoteProtocolError):
            read_call(data)


class Host:
    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    def report(self, error: BaseException) -> None:
        self.errors.append(error)


async def test_a_server_answers_calls() -> None:
    host = Host()
    rpc = XmlRpcServer(host)

    async def add(one: int, other: int) -> int:
        return one + other

    rpc.register("add", add)
    rpc.register("half", lambda number: number / 2)
    rpc.register("deny", lambda: (_ for _ in ()).throw(FaultError(7, "no")))

    async def said(body: bytes) -> Any:
        request = Request(method="POST", target="/", path="/", query={}, headers={}, body=body, peer="x")
        response = await rpc.answer(request)
        assert isinstance(response.body, bytes)
        return read_result(response.body)

    assert await said(write_call("add", 1, 2)) == 3
    assert await said(write_call("half", 3)) == 1.5
    for body, code in (
        (write_call("deny"), 7),
        (write_call("other"), UNKNOWN_METHOD),
        (write_call("add", 1), FAILED),
        (b"<x/>", INVALID_CALL),
    ):
        with pytest.raises(FaultError) as caught:
            await said(body)
        assert caught.value.code == code
    assert [type(error) for error in host.errors] == [TypeError]
    with pytest.raises(LocalProtocolError):
        rpc.register("a b", add)
