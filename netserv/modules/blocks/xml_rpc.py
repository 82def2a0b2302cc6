"""XML-RPC (xmlrpc.com/spec): values to bytes and back, a client over `context.http`, a server behind `http_server`.

A document type is refused at its first word, so that no entity is ever expanded; sizes and depths are bounded.
"""

import base64
import datetime as dt
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, Protocol, TypeAlias
from xml.sax.saxutils import escape

from netserv.errors import LocalProtocolError, NetservError, RemoteProtocolError
from netserv.modules.blocks.http_client import HttpClient
from netserv.modules.blocks.http_server import Request, Response

DOCUMENT_MAX: Final = 262_144
"Bytes: notifications have 500, lists of thousands of numbers 200,000."
DEPTH_MAX: Final = 16
"Of arrays and structs in each other."
METHOD: Final = re.compile(r"[A-Za-z0-9_.:/]{1,255}")
"What the specification lets a method be called."
INTEGER_MAX: Final = (1 << 63) - 1
UNKNOWN_METHOD: Final = -32601
INVALID_CALL: Final = -32700
FAILED: Final = -32500
"Fault codes as most implementations have them (XML-RPC EPI)."

_WHEN: Final = "%Y%m%dT%H:%M:%S"
_FORBIDDEN: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"What no XML document may have (XML 1.0 section 2.2)."
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")

Value: TypeAlias = Any
"bool, int, float, str, bytes, datetime, None, lists and dicts of them."


class FaultError(NetservError):
    """The other side says that the call has failed."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"fault {code}: {text}")
        self.code, self.text = code, text


def write_call(method: str, *parameters: Value) -> bytes:
    """A call as a document.

    Raises:
        LocalProtocolError: a value or name that XML-RPC does not have.
    """
    if METHOD.fullmatch(method) is None:
        raise LocalProtocolError(f"{method[:80]!r} is no name of a method")
    return _document(f"<methodCall><methodName>{method}</methodName>{_parameters(parameters)}</methodCall>")


def write_result(value: Value) -> bytes:
    """The answer to a call.

    Raises:
        LocalProtocolError: likewise.
    """
    return _document(f"<methodResponse>{_parameters((value,))}</methodResponse>")


def write_fault(code: int, text: str) -> bytes:
    """The answer to a call that has failed; characters that XML does not have are left out."""
    value = _written({"faultCode": code, "faultString": _FORBIDDEN.sub("?", text)}, 0)
    return _document(f"<methodResponse><fault>{value}</fault></methodResponse>")


def read_call(data: bytes) -> tuple[str, list[Value]]:
    """Method and parameters of a call.

    Raises:
        RemoteProtocolError: it is none.
    """
    root = _root(data, "methodCall")
    name = (_only(root, "methodName").text or "").strip()
    if METHOD.fullmatch(name) is None:
        raise RemoteProtocolError("XML-RPC: no name of a method")
    return name, [_read(_only(each, "value"), 0) for each in _list(root, "params", "param")]


def read_result(data: bytes) -> Value:
    """What a call has given.

    Raises:
        FaultError: it has failed.
        RemoteProtocolError: it is no answer.
    """
    root = _root(data, "methodResponse")
    fault = root.find("fault")
    if fault is not None:
        said = _read(_only(fault, "value"), 0)
        code, text = (said.get("faultCode"), said.get("faultString")) if isinstance(said, dict) else (None, None)
        if not isinstance(code, int) or not isinstance(text, str):
            raise RemoteProtocolError("XML-RPC: a fault without code and text")
        raise FaultError(code, text)
    values = [_read(_only(each, "value"), 0) for each in _list(root, "params", "param")]
    if len(values) != 1:
        raise RemoteProtocolError(f"XML-RPC: an answer with {len(values)} values")
    return values[0]


class XmlRpcClient:
    """Calls to one server.

    Args:
        http: `context.http`.
        url: of the server.
        timeout_s: of one call.
    """

    def __init__(self, http: HttpClient, url: str, timeout_s: float = 10.0) -> None:
        self._http, self._url, self._timeout_s = http, url, timeout_s

    async def call(self, method: str, *parameters: Value) -> Value:
        """Call a method.

        Raises:
            FaultError: it has failed there.
            LocalProtocolError: a value that cannot be sent.
            UnreachableError: nobody answered.
            RemoteProtocolError: what came is no answer.
        """
        answer = await self._http.post(
            self._url,
            write_call(method, *parameters),
            headers=[("content-type", "text/xml")],
            body_max=DOCUMENT_MAX,
            timeout_s=self._timeout_s,
        )
        if answer.status != 200:
            raise RemoteProtocolError(f"{self._url}: status {answer.status}")
        return read_result(answer.body)


class Reporting(Protocol):
    """What the server needs of a module's context."""

    def report(self, error: BaseException) -> None:
        """Say that a method has failed."""


class XmlRpcServer:
    """Methods behind one path: `http.route("POST", "/RPC2")(rpc.answer)`.

    Args:
        host: the context of the module.
    """

    def __init__(self, host: Reporting) -> None:
        self._host = host
        self._methods: dict[str, Callable[..., Any]] = {}

    def register(self, name: str, function: Callable[..., Any | Awaitable[Any]]) -> None:
        """Offer a method; plain functions must not wait.

        Raises:
            LocalProtocolError: no name of a method.
        """
        if METHOD.fullmatch(name) is None:
            raise LocalProtocolError(f"{name[:80]!r} is no name of a method")
        self._methods[name] = function

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        try:
            document = write_result(await self._called(*read_call(request.body)))
        except RemoteProtocolError as error:
            document = write_fault(INVALID_CALL, str(error))
        except FaultError as fault:
            document = write_fault(fault.code, fault.text)
        except Exception as error:
            self._host.report(error)
            document = write_fault(FAILED, "this module has failed")
        return Response(headers=(("content-type", "text/xml"),), body=document)

    async def _called(self, name: str, parameters: list[Value]) -> Value:
        function = self._methods.get(name)
        if function is None:
            raise FaultError(UNKNOWN_METHOD, f"no method {name}")
        result = function(*parameters)
        return await result if isinstance(result, Awaitable) else result


class _Builder(ET.TreeBuilder):
    def doctype(self, *_: str | None) -> None:
        raise RemoteProtocolError("XML-RPC: a document type, which calls do not have")


def _root(data: bytes, name: str) -> ET.Element:
    if len(data) > DOCUMENT_MAX:
        raise RemoteProtocolError(f"XML-RPC: more than {DOCUMENT_MAX} bytes")
    parser = ET.XMLParser(target=_Builder())  # noqa: S314 - a document type, which entities need, ends it
    try:
        parser.feed(data)
        root = parser.close()
    except (ET.ParseError, ValueError, LookupError) as error:  # LookupError: an encoding that nobody knows
        raise RemoteProtocolError(f"XML-RPC: {error}") from None
    if not isinstance(root, ET.Element) or root.tag != name:
        raise RemoteProtocolError(f"XML-RPC: no {name}")
    return root


def _only(parent: ET.Element, name: str) -> ET.Element:
    found = parent.findall(name)
    if len(found) != 1:
        raise RemoteProtocolError(f"XML-RPC: {parent.tag} with {len(found)} {name}, not one")
    return found[0]


def _list(parent: ET.Element, name: str, member: str) -> list[ET.Element]:
    """Members of a list that may be missing."""
    return [] if parent.find(name) is None else _only(parent, name).findall(member)


def _read(value: ET.Element, depth: int) -> Value:
    children = list(value)
    if not children:
        return value.text or ""
    if len(children) > 1 or depth >= DEPTH_MAX:
        raise RemoteProtocolError(f"XML-RPC: a value of {len(children)} things, or {depth} deep")
    child = children[0]
    match child.tag:
        case "array":
            return [_read(each, depth + 1) for each in _only(child, "data").findall("value")]
        case "struct":
            members = child.findall("member")
            return {_only(each, "name").text or "": _read(_only(each, "value"), depth + 1) for each in members}
        case _:
            return _read_simple(child.tag, child.text or "")


def _read_simple(kind: str, text: str) -> Value:
    try:
        match kind:
            case "int" | "i4" | "i8" if _INTEGER.fullmatch(text.strip()) and abs(int(text)) <= INTEGER_MAX:
                return int(text)
            case "boolean" if text.strip() in {"0", "1"}:
                return text.strip() == "1"
            case "string":
                return text
            case "double":
                return float(text)
            case "dateTime.iso8601":
                return dt.datetime.strptime(text.strip(), _WHEN)  # noqa: DTZ007 - it has no zone, by specification
            case "base64":
                return base64.b64decode("".join(text.split()), validate=True)
            case "nil":
                return None
    except ValueError as error:
        raise RemoteProtocolError(f"XML-RPC: {kind} {text[:40]!r}: {error}") from None
    raise RemoteProtocolError(f"XML-RPC: {kind[:40]} {text[:40]!r} is no value")


def _parameters(values: tuple[Value, ...]) -> str:
    return f"<params>{''.join(f'<param>{_written(value, 0)}</param>' for value in values)}</params>"


def _written(value: Value, depth: int) -> str:
    return f"<value>{''.join(_pieces(value, depth))}</value>"


def _pieces(value: Value, depth: int) -> Iterator[str]:
    if depth > DEPTH_MAX:
        raise LocalProtocolError(f"XML-RPC: values in each other deeper than {DEPTH_MAX}")
    match value:
        case None:
            yield "<nil/>"
        case bool():
            yield f"<boolean>{value:d}</boolean>"
        case int() if abs(value) <= INTEGER_MAX:
            yield f"<int>{value}</int>" if abs(value) < 1 << 31 else f"<i8>{value}</i8>"
        case float() if math.isfinite(value):
            yield f"<double>{value!r}</double>"
        case str() if _FORBIDDEN.search(value) is None:
            yield f"<string>{_text(value)}</string>"
        case bytes():
            yield f"<base64>{base64.b64encode(value).decode()}</base64>"
        case dt.datetime():
            yield f"<dateTime.iso8601>{value.year:04d}{value.strftime('%m%dT%H:%M:%S')}</dateTime.iso8601>"
        case list() | tuple():
            yield f"<array><data>{''.join(_written(each, depth + 1) for each in value)}</data></array>"
        case dict() if all(isinstance(name, str) and _FORBIDDEN.search(name) is None for name in value):
            members = (
                f"<member><name>{_text(name)}</name>{_written(each, depth + 1)}</member>"
                for name, each in value.items()
            )
            yield f"<struct>{''.join(members)}</struct>"
        case _:
            raise LocalProtocolError(f"XML-RPC has no {type(value).__name__} such as {value!r:.40}")


def _text(text: str) -> str:
    # A carriage return would come back as a line feed.
    return escape(text, {"\r": "&#13;"})


def _document(text: str) -> bytes:
    data = f'<?xml version="1.0"?>\n{text}'.encode()
    if len(data) > DOCUMENT_MAX:
        raise LocalProtocolError(f"XML-RPC: {len(data)} bytes; {DOCUMENT_MAX} are possible")
    return data
