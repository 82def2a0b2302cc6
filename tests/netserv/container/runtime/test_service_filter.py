from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.container.runtime.service_filter import read_filter
from netserv.errors import LocalProtocolError

PROPERTIES = {"lang": "en", "rank": 2, "name": "a*b(c)", "version": "1.10", "empty": ""}


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("", True),
        ("(lang=en)", True),
        ("(lang=de)", False),
        ("(other=en)", False),
        ("(lang=*)", True),
        ("(other=*)", False),
        ("(empty=)", True),
        ("(lang=e*)", True),
        ("(lang=*n)", True),
        ("(lang=*x*)", False),
        ("(rank=2)", True),
        ("(rank=2.0)", True),
        ("(rank>=2)", True),
        ("(rank>=10)", False),
        ("(rank<=10)", True),
        ("(rank>=nan)", False),
        ("(version>=1.9)", False),
        ("(lang>=aa)", True),
        ("(lang<=aa)", False),
        (r"(name=a\2ab\28c\29)", True),
        (r"(name=a\2a*)", True),
        ("(&(lang=en)(rank>=2))", True),
        ("(&(lang=en)(rank>=3))", False),
        ("(|(lang=de)(rank>=2))", True),
        ("(!(lang=de))", True),
        ("(!(&(lang=en)(!(rank=3))))", False),
    ],
)
def test_filters(text: str, passes: bool) -> None:
    assert read_filter(text)(PROPERTIES) is passes


@pytest.mark.parametrize(
    "text", ["x", "(", "()", "(a)", "(=b)", "(a=b", "(a=b))", "(&)", "(!(a=b)(c=d))", "(a=(b))", "(a=b)(c=d)", " (a=b)"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(LocalProtocolError, match="it looks like"):
        read_filter(text)


def test_filters_are_bounded() -> None:
    with pytest.raises(LocalProtocolError, match="at most 1024 characters"):
        read_filter(f"(a={'b' * 1024})")
    with pytest.raises(LocalProtocolError, match="nested deeper than 16"):
        read_filter("(!" * 20 + "(a=b)" + ")" * 20)


@given(st.text("(&|!)=<>*\\2ab", max_size=40))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    with suppress(LocalProtocolError):
        assert read_filter(text)({"a": "b", "b": 2}) in {True, False}
