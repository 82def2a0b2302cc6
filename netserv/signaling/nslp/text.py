"""Text as bytes: a first line, `name:value` lines, one empty line (figure 6.3 of the thesis); no header is known here.

UTF-8; written with LF, read with LF or CRLF; no other control character; names in lower case and each at most once.
NUL bytes behind it fill the last 32-bit word, since GIST carries whole words.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec

from netserv.signaling.nslp.codes import Code, NslpError

VERSION: Final = "NETSERV/0.1"
REQUEST_BYTES_MAX: Final = 8_192
"Of a request, without padding; what it has more of is refused (413)."
RESPONSE_BYTES_MAX: Final = 16_380
"4,095 words: all that one NSLP-Data object holds."
HEADERS_MAX: Final = 64
"Four times those that exist; a text of 8 KiB could have a thousand."
NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")

Header: TypeAlias = tuple[str, str]


class Block(msgspec.Struct, frozen=True, gc=False):
    """Lines up to an empty one."""

    lines: tuple[str, ...]
    length: int
    "Bytes, the empty line included."


def padded(text: bytes) -> bytes:
    """Text as GIST carries it: filled up to whole words."""
    return text + bytes(-len(text) % 4)


def unpadded(data: bytes) -> bytes:
    """The text of what GIST has delivered.

    Raises:
        NslpError: more padding than fills a word.
    """
    text = data.rstrip(b"\0")
    if len(data) - len(text) > 3:
        raise NslpError("more NUL bytes at the end than fill a 32-bit word")
    return text


def read_block(text: bytes, start: int = 0) -> Block:
    """The lines from `start` to the next empty line.

    Raises:
        NslpError: no UTF-8, a control character, or no empty line at its end.
    """
    lines: list[str] = []
    at = start
    while True:
        end = text.find(b"\n", at)
        if end < 0:
            raise NslpError("the text ends without an empty line")
        line = _decoded(text[at : end - 1] if text[at:end].endswith(b"\r") else text[at:end])
        at = end + 1
        if not line:
            return Block(tuple(lines), at - start)
        lines.append(line)
        if len(lines) > HEADERS_MAX + 1:
            raise NslpError(f"more than {HEADERS_MAX} headers", code=Code.TOO_LARGE)


def read_first_line(lines: tuple[str, ...]) -> tuple[str, str]:
    """Method and target of a first line, of this version.

    Raises:
        NslpError: it has not three words, or another version.
    """
    words = lines[0].split(" ") if lines else []
    if len(words) != 3 or not all(words):
        raise NslpError(f"the first line is not METHOD TARGET {VERSION}")
    if words[2] != VERSION:
        raise NslpError(f"version {shown(words[2])} is not spoken here, only {VERSION}")
    return words[0], words[1]


def read_headers(lines: Iterable[str]) -> tuple[Header, ...]:
    """`name:value` lines.

    Raises:
        NslpError: a line of another form, or a name that comes twice.
    """
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise NslpError(f"line {shown(line)} is not name:value")
        check_header(name, value)
        if name in headers:
            raise NslpError(f"header {name} comes twice")
        headers[name] = value
    return tuple(headers.items())


def check_header(name: str, value: str) -> None:
    """See whether a header can be written.

    Raises:
        NslpError: it would not be read back as the same.
    """
    if NAME.fullmatch(name) is None:
        raise NslpError(f"header name {shown(name)} is not of a-z, 0-9 and -, in lower case, 64 characters at most")
    if value != value.strip(" "):
        raise NslpError(f"header {name} has a space beside its value")
    check_printable(f"header {name}", value)


def check_printable(what: str, value: str) -> None:
    """See that a text stays on its line, and does nothing to the terminal that shows it.

    Raises:
        NslpError: a control character, or half a surrogate pair, which UTF-8 has not.
    """
    if not value.isprintable():
        for character in value:
            if unicodedata.category(character) in {"Cc", "Cs"}:
                raise NslpError(f"{what} has the control character U+{ord(character):04X}")


def write_block(lines: Iterable[str]) -> bytes:
    """Lines and the empty one."""
    return "".join(f"{line}\n" for line in (*lines, "")).encode()


def header_lines(headers: Iterable[Header]) -> list[str]:
    """`name:value` lines."""
    return [f"{name}:{value}" for name, value in headers]


def shown(word: str) -> str:
    """A strange word for an error, short and harmless."""
    return ascii(word if len(word) <= 40 else word[:40] + "...")


def _decoded(line: bytes) -> str:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise NslpError("a line is not UTF-8") from None
    check_printable("a line", text)
    return text
