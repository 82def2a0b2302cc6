"""The thesis' configuration, an XML file, as `netserv.toml` (NetServ design, section 4; thesis 6.1.2).

The thesis lists what its file has, users with public key, container address, ports, filters and sandbox directory, and
does not print it. So names of elements are taken in all likely spellings, without regard to case, `-` and `_`, and
each field may be an element or an attribute of the user's. What is not known is refused, so that nothing is lost
without a word. No document type, entity or processing instruction is read.
"""

import json
from collections.abc import Mapping
from typing import Final
from xml.parsers import expat

import msgspec

from netserv.errors import LocalProtocolError

FILE_MAX: Final = 4 << 20
"Bytes; a user has 500."
DEPTH_MAX: Final = 8
ELEMENTS_MAX: Final = 100_000
_USERS: Final = ("user", "publisher")
_GROUPS: Final = ("netserv", "config", "configuration", "controller", "users", "publishers", "node")
_INNER: Final = ("container", "sandbox", "ports", "filters", "keys")
"Groups inside a user."
_FIELDS: Final[Mapping[str, str]] = {
    "name": "name",
    "id": "name",
    "username": "name",
    "key": "key",
    "publickey": "key",
    "address": "address",
    "ip": "address",
    "ipaddress": "address",
    "containeraddress": "address",
    "port": "ports",
    "listen": "ports",
    "listenport": "ports",
    "prefix": "prefixes",
    "filter": "prefixes",
    "filterprefix": "prefixes",
    "network": "prefixes",
    "connect": "connects",
    "sandboxdir": "sandbox_dir",
    "sandboxdirectory": "sandbox_dir",
    "directory": "sandbox_dir",
    "dir": "sandbox_dir",
    "path": "sandbox_dir",
}
_LISTS: Final = ("key", "ports", "prefixes", "connects")
_NODE_FIELDS: Final = {
    "statedir": ("node", "state_dir"),
    "nodeid": ("node", "id"),
    "ttlmax": ("caps", "ttl_s"),
    "maxttl": ("caps", "ttl_s"),
}


class Element(msgspec.Struct):
    """An element of the file."""

    name: str
    "In lower case, without `-` and `_`."
    line: int
    attributes: dict[str, str]
    children: list["Element"]
    text: str = ""


def toml_of_xml(data: bytes) -> str:
    """The text of a `netserv.toml` that says the same.

    Raises:
        LocalProtocolError: it is no such file; the text names the line.
    """
    root = _parsed(data)
    tables: dict[str, dict[str, object]] = {}
    _walk(root, tables)
    if not any(name.startswith("publishers.") for name in tables):
        raise LocalProtocolError("the file has no user; each is an element `user`")
    return "\n".join(_written(name, table) for name, table in tables.items())


def _parsed(data: bytes) -> Element:
    if len(data) > FILE_MAX:
        raise LocalProtocolError(f"more than {FILE_MAX} bytes")
    reader = _Reader()
    try:
        reader.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise LocalProtocolError(f"line {error.lineno}: not XML: {expat.ErrorString(error.code)}") from None
    if reader.root is None:
        raise LocalProtocolError("not XML: no element")
    return reader.root


class _Reader:
    """Makes elements of what expat finds."""

    def __init__(self) -> None:
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse
        self.parser.ProcessingInstructionHandler = self._refuse
        self.root: Element | None = None
        self._open: list[Element] = []
        self._count = 0

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > ELEMENTS_MAX or len(self._open) >= DEPTH_MAX:
            raise LocalProtocolError(f"line {self._line}: more than {ELEMENTS_MAX} elements, or {DEPTH_MAX} levels")
        element = Element(_folded(name), self._line, {_folded(key): value for key, value in attributes.items()}, [])
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def _end(self, _name: str) -> None:
        element = self._open.pop()
        element.text = element.text.strip()

    def _text(self, data: str) -> None:
        self._open[-1].text += data

    def _refuse(self, *_arguments: object) -> None:
        raise LocalProtocolError(f"line {self._line}: document types, entities and instructions are not read")

    @property
    def _line(self) -> int:
        return self.parser.CurrentLineNumber


def _folded(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _walk(element: Element, tables: dict[str, dict[str, object]]) -> None:
    if element.name in _USERS:
        _user(element, tables)
        return
    if element.name in _NODE_FIELDS and not element.children:
        _node_field(element.name, element.text, tables)
        return
    if element.name not in _GROUPS:
        raise LocalProtocolError(f"line {element.line}: element {element.name!r} is not known")
    for name, value in element.attributes.items():
        if name in _NODE_FIELDS:
            _node_field(name, value, tables)
        elif name not in {"xmlns", "version"}:
            raise LocalProtocolError(f"line {element.line}: attribute {name!r} of {element.name} is not known")
    for child in element.children:
        _walk(child, tables)


def _node_field(name: str, value: str, tables: dict[str, dict[str, object]]) -> None:
    table, field = _NODE_FIELDS[name]
    number = table == "caps" and value.isascii() and value.isdigit() and len(value) < 12
    tables.setdefault(table, {})[field] = int(value) if number else value


def _user(element: Element, tables: dict[str, dict[str, object]]) -> None:
    found: dict[str, list[str]] = {}
    _collect(element, found)
    names = found.pop("name", [])
    if len(names) != 1 or "key" not in found:
        raise LocalProtocolError(f"line {element.line}: a user has one name and a public key")
    table: dict[str, object] = {}
    for field, values in found.items():
        if field not in _LISTS and len(values) > 1:
            raise LocalProtocolError(f"line {element.line}: a user has one {field}")
        table[field] = values if field in _LISTS else values[0]
    section = f"publishers.{json.dumps(names[0])}"
    if section in tables:
        raise LocalProtocolError(f"line {element.line}: user {names[0]} comes twice")
    tables[section] = table


def _collect(element: Element, found: dict[str, list[str]]) -> None:
    proto = element.attributes.get("proto") or element.attributes.get("protocol") or "tcp"
    for name, value in element.attributes.items():
        if name in {"proto", "protocol"}:
            continue
        _add(name, value.strip(), "tcp", element.line, found)
    if element.text and not element.children and element.name not in _USERS:
        _add(element.name, element.text, proto.lower(), element.line, found)
    for child in element.children:
        if child.name not in _INNER and child.name not in _FIELDS:
            raise LocalProtocolError(f"line {child.line}: element {child.name!r} of a user is not known")
        _collect(child, found)


def _add(name: str, value: str, proto: str, line: int, found: dict[str, list[str]]) -> None:
    field = "sandbox_dir" if name == "sandbox" else _FIELDS.get(name)
    if field is None:
        raise LocalProtocolError(f"line {line}: {name!r} of a user is not known")
    if not value.isprintable():  # JSON and TOML write such characters differently
        raise LocalProtocolError(f"line {line}: a control character in {name}")
    if field == "ports" and "/" not in value:
        value = f"{proto}/{value}"
    if field == "key":
        value = "".join(value.split())
    found.setdefault(field, []).append(value)


def _written(name: str, table: Mapping[str, object]) -> str:
    lines = [f"[{name}]"]
    lines += [f"{field} = {json.dumps(value, ensure_ascii=False)}" for field, value in table.items()]
    return "\n".join(lines) + "\n"
