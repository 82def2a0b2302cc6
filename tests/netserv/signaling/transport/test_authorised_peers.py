import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.errors import LocalProtocolError
from netserv.signaling.gist.addresses import packed
from netserv.signaling.transport.authorised_peers import (
    ENTRIES_MAX,
    EVERYBODY,
    FINGERPRINT,
    allowed,
    authorised_peers,
)

HERE, ELSEWHERE, V6 = packed("192.0.2.7"), packed("203.0.113.7"), packed("2001:db8::7")
DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("text", "address", "names", "wanted"),
    [
        ("allow dns r1.isp.example", HERE, ["r1.isp.example"], True),
        ("allow dns R1.ISP.example", HERE, ["r1.isp.EXAMPLE."], True),
        ("allow dns *.isp.example", HERE, ["r1.isp.example"], True),
        ("allow dns *.isp.example", HERE, ["isp.example"], False),
        ("allow dns *.isp.example", HERE, ["*.isp.example"], True),
        ("allow dns r1.isp.example", HERE, ["*.isp.example"], True),
        ("allow dns isp.example", HERE, ["*.isp.example"], False),
        ("allow dns *.isp.example", HERE, ["evil-isp.example"], False),
        ("allow dns r1.isp.example", HERE, [], False),
        ("allow dns *", HERE, ["a.example"], False),  # every name at all is the namespace `any`
        ("allow any *", HERE, [], True),
        ("allow any * 192.0.2.0/24", HERE, [], True),
        ("allow any * 192.0.2.0/24", ELSEWHERE, [], False),
        ("allow any * 192.0.2.0/24", V6, [], False),
        ("allow any * 2001:db8::/32", V6, [], True),
        ("deny dns bad.isp.example\nallow dns *.isp.example", HERE, ["bad.isp.example"], False),
        ("allow dns *.isp.example\ndeny dns bad.isp.example", HERE, ["bad.isp.example"], True),
        (f"allow sha256 {DIGEST.upper()}", HERE, [FINGERPRINT + DIGEST], True),
        (f"allow sha256 {':'.join(['ab'] * 32)}", HERE, [FINGERPRINT + DIGEST], True),
        (f"allow sha256 {DIGEST}", HERE, [FINGERPRINT + "cd" * 32], False),
        (f"allow dns {FINGERPRINT}{DIGEST}", HERE, [FINGERPRINT + DIGEST], False),
        ("  # nobody\n\n", HERE, ["r1.isp.example"], False),
    ],
)
def test_the_first_entry_that_fits_decides(text: str, address: bytes, names: list[str], wanted: bool) -> None:
    assert allowed(authorised_peers(text), address, names) is wanted


def test_everybody_is_let_in_where_there_is_no_list() -> None:
    assert allowed(EVERYBODY, HERE, ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("permit dns a.example", "line 1 of the list of authorised peers: 'permit' is neither allow nor deny"),
        ("\nallow nds a.example", "line 2 .*'nds' is no namespace"),
        ("allow any a.example", "in the namespace any is \\*"),
        ("allow sha256 abcd", "64 hexadecimal digits"),
        ("allow dns", "3 or 4 words"),
        ("allow dns a b c", "3 or 4 words|IPv4"),
        ("allow dns a.example 192.0.2.1/24", "has host bits set"),
        ("allow any *\n" * (ENTRIES_MAX + 1), f"more than {ENTRIES_MAX}"),
    ],
)
def test_a_line_that_is_no_entry_is_named(text: str, said: str) -> None:
    with pytest.raises(LocalProtocolError, match=said):
        authorised_peers(text)


@given(st.text(max_size=60))
def test_any_text_is_a_list_or_is_refused(text: str) -> None:
    try:
        peers = authorised_peers(text)
    except LocalProtocolError:
        return
    assert allowed(peers, HERE, ("r1.isp.example",)) in {True, False}
