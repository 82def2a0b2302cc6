r"""Filters on properties of services: the text of LDAP filters (RFC 4515), as OSGi uses it.

`(lang=en)`, `(rank>=2)`, `(rank<=9)`, `(name=*)`, `(name=ab*yz)`, `(&(..)(..))`, `(|(..)(..))`, `(!(..))`. A value is
compared as a number where both sides are one. `\\2a` stands for `*`, `\\28` for `(`, `\\29` for `)`, `\\5c` for `\\`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from netserv.errors import LocalProtocolError

Properties: TypeAlias = Mapping[str, str | float]
Test: TypeAlias = Callable[[Properties], bool]

FILTER_MAX: Final = 1_024
"Characters: a filter is written by hand."
DEPTH_MAX: Final = 16
_COMPARISON: Final = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)(>=|<=|=)([^()]*)\)")
_ESCAPE: Final = re.compile(r"\\([0-9a-fA-F]{2})")


def read_filter(text: str) -> Test:
    """The test of a filter; an empty text lets everything pass.

    Raises:
        LocalProtocolError: it is none.
    """
    if not text:
        return lambda _: True
    if len(text) > FILTER_MAX:
        raise LocalProtocolError(f"a filter has at most {FILTER_MAX} characters")
    test, end = _read(text, 0, 0)
    if end != len(text):
        raise _strange(text, end)
    return test


def _read(text: str, at: int, depth: int) -> tuple[Test, int]:
    if depth > DEPTH_MAX:
        raise LocalProtocolError(f"filter {text[:80]!r} is nested deeper than {DEPTH_MAX}")
    if text[at : at + 1] != "(":
        raise _strange(text, at)
    operator = text[at + 1 : at + 2]
    if operator in {"&", "|", "!"}:
        return _combined(text, at + 2, operator, depth)
    match = _COMPARISON.match(text, at + 1)
    if match is None:
        raise _strange(text, at + 1)
    return _comparison(*match.groups()), match.end()


def _combined(text: str, at: int, operator: str, depth: int) -> tuple[Test, int]:
    tests = []
    while text[at : at + 1] == "(":
        test, at = _read(text, at, depth + 1)
        tests.append(test)
    if text[at : at + 1] != ")" or not tests or (operator == "!" and len(tests) > 1):
        raise _strange(text, at)
    if operator == "!":
        return lambda properties: not tests[0](properties), at + 1
    together = all if operator == "&" else any
    return lambda properties: together(test(properties) for test in tests), at + 1


def _comparison(name: str, operator: str, value: str) -> Test:
    if operator == "=":
        if value == "*":
            return lambda properties: name in properties
        if "*" in value:
            pieces = (re.escape(_unescaped(piece)) for piece in value.split("*"))
            pattern = re.compile(".*".join(pieces), re.DOTALL)
            return lambda properties: name in properties and pattern.fullmatch(_shown(properties[name])) is not None
    wanted = _unescaped(value)
    return lambda properties: name in properties and _holds(properties[name], operator, wanted)


def _holds(have: str | float, operator: str, wanted: str) -> bool:
    try:
        one, other = float(have), float(wanted)
        order = (one > other) - (one < other)
        if one != one or other != other:  # noqa: PLR0124 - a number that is none equals nothing
            return False
    except ValueError:
        shown = _shown(have)
        order = (shown > wanted) - (shown < wanted)
    return order == 0 or (operator == ">=" and order > 0) or (operator == "<=" and order < 0)


def _shown(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)


def _strange(text: str, at: int) -> LocalProtocolError:
    return LocalProtocolError(
        f"filter {text[:80]!r} is strange at character {at + 1}; it looks like (&(lang=en)(rank>=2))"
    )
