import re

from hypothesis import given
from hypothesis import strategies as st

from tools.netlab import decode_label, decode_txt, parse_line


def avahi_escape(data: bytes, plain: re.Pattern[bytes]) -> str:
    r"""Escape as Avahi 0.8 does: backslash and dot by a backslash, all but `plain` by three decimal digits."""
    parts = [
        f"\\{byte:c}" if byte in b".\\" else chr(byte) if plain.match(bytes([byte])) else f"\\{byte:03d}"
        for byte in data
    ]
    return "".join(parts)


LABEL_PLAIN = re.compile(rb"[A-Za-z0-9_-]")
TXT_PLAIN = re.compile(rb'[ -~](?<!["\\])')


@given(st.text(min_size=1, max_size=63))
def test_an_escaped_label_comes_back(name: str) -> None:
    assert decode_label(avahi_escape(name.encode(), LABEL_PLAIN)) == name


@given(st.lists(st.binary(min_size=1, max_size=40)))
def test_txt_strings_come_back_in_the_order_of_the_packet(strings: list[bytes]) -> None:
    quoted = ['"' + avahi_escape(text, TXT_PLAIN).replace('\\"', '"') + '"' for text in strings]
    assert decode_txt(" ".join(reversed(quoted))) == tuple(strings)


def test_a_resolved_line_is_read_whole() -> None:
    parsed = parse_line(
        r"=;eth0;IPv4;Tom\039s\032M\195\188sic\.\032v1\0592;_daap._tcp;local;a.local;198.51.100.2;3689;"
        r'"raw=\255;\"" "a=b"'
    )
    assert parsed is not None
    event, service = parsed
    assert event == "="
    assert service.instance == "Tom's Müsic. v1;2"
    assert (service.host, service.address, service.port) == ("a.local", "198.51.100.2", 3689)
    assert service.txt_strings == (b"a=b", b'raw=\xff;"')


def test_a_service_without_txt_has_no_strings() -> None:
    parsed = parse_line("=;eth0;IPv6;x;_ipp._tcp;local;a.local;2001:db8::2;631;")
    assert parsed is not None
    assert parsed[1].txt_strings == ()


def test_an_unresolved_line_has_no_address() -> None:
    parsed = parse_line("-;eth0;IPv6;x;_ipp._tcp;local")
    assert parsed is not None
    assert (parsed[0], parsed[1].instance, parsed[1].address, parsed[1].port) == ("-", "x", "", 0)


@given(st.text())
def test_other_lines_are_passed_over(text: str) -> None:
    assert parse_line(f"Failed to resolve service {text}") is None
