from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.signaling.nslp.codes import Code, NslpError
from netserv.signaling.nslp.text import (
    HEADERS_MAX,
    header_lines,
    padded,
    read_block,
    read_first_line,
    read_headers,
    unpadded,
    write_block,
)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_block_or_one_error(data: bytes) -> None:
    with suppress(NslpError):
        block = read_block(unpadded(data))
        assert read_block(write_block(block.lines)).lines == block.lines
        read_headers(block.lines)


@given(st.binary(max_size=40).filter(lambda data: not data.endswith(b"\0")))
def test_padding_fills_a_word_and_goes_again(text: bytes) -> None:
    assert len(padded(text)) % 4 == 0
    assert len(padded(text)) - len(text) < 4
    assert unpadded(padded(text)) == text


def test_more_padding_than_a_word_is_refused() -> None:
    assert unpadded(b"x\0\0\0") == b"x"
    with pytest.raises(NslpError, match="more NUL bytes"):
        unpadded(b"x\0\0\0\0")


def test_lines_end_with_lf_or_crlf() -> None:
    assert read_block(b"a:1\nb:2\n\n").lines == read_block(b"a:1\r\nb:2\n\r\n").lines == ("a:1", "b:2")
    assert read_block(b"a:1\r\nb:2\n\r\nrest").length == len(b"a:1\r\nb:2\n\r\n")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "without an empty line"),
        (b"a:1\n", "without an empty line"),
        (b"a:1", "without an empty line"),
        (b"a:\t1\n\n", "U\\+0009"),
        (b"a:\x001\n\n", "U\\+0000"),
        (b"a:1\r\r\n\n", "U\\+000D"),
        (b"a:\r1\n\n", "U\\+000D"),
        (b"a:\x1b[2J\n\n", "U\\+001B"),
        (b"a:\x7f\n\n", "U\\+007F"),
        ("a:\u009b2J\n\n".encode(), "U\\+009B"),
        (b"a:\xff\n\n", "not UTF-8"),
        (b"a:\xed\xa0\x80\n\n", "not UTF-8"),
        (b"a:1\n" * (HEADERS_MAX + 2) + b"\n", "more than 64 headers"),
    ],
)
def test_strange_text_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(NslpError, match=why):
        read_block(text)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("no colon", "not name:value"),
        ("Name:1", "lower case"),
        (":1", "header name"),
        ("1a:1", "header name"),
        ("a b:1", "header name"),
        ("a_b:1", "header name"),
        ("a" * 65 + ":1", "header name"),
        ("a: 1", "space beside its value"),
        ("a:1 ", "space beside its value"),
    ],
)
def test_lines_of_another_form_are_refused(line: str, why: str) -> None:
    with pytest.raises(NslpError, match=why) as caught:
        read_headers([line])
    assert caught.value.code is Code.BAD_REQUEST


def test_duplicates_are_refused_and_empty_values_are_not() -> None:
    assert read_headers(["a:", "b:x:y", "c:ü"]) == (("a", ""), ("b", "x:y"), ("c", "ü"))
    assert header_lines((("a", ""), ("b", "x:y"))) == ["a:", "b:x:y"]
    with pytest.raises(NslpError, match="a comes twice"):
        read_headers(["a:1", "b:2", "a:1"])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "METHOD TARGET"),
        ("PROBE *", "METHOD TARGET"),
        ("PROBE  * NETSERV/0.1", "METHOD TARGET"),
        ("PROBE * NETSERV/0.1 more", "METHOD TARGET"),
        (" PROBE * NETSERV/0.1", "METHOD TARGET"),
        ("PROBE * NETSERV/0.2", "only NETSERV/0.1"),
        ("PROBE * HTTP/1.1", "only NETSERV/0.1"),
    ],
)
def test_first_lines_of_another_form_are_refused(line: str, why: str) -> None:
    with pytest.raises(NslpError, match=why):
        read_first_line((line,))


def test_a_first_line_has_method_and_target() -> None:
    assert read_first_line(("PROBE * NETSERV/0.1",)) == ("PROBE", "*")
