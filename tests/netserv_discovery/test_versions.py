import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.versions import Need, Offer, VersionRange, parse_need, parse_range, version_numbers
from tests.netserv_discovery.strategies import names, versions


@pytest.mark.parametrize(
    ("text", "version", "holds"),
    [
        ("", "0", True),
        (">=5", "5.0.0", True),
        (">=5", "4.9", False),
        (">=5,<7", "6.99", True),
        (">=5,<7", "7", False),
        (">5", "5.0", False),
        ("<=5", "5.0.1", False),
        ("==5", "5.0", True),
        ("=5", "5.1", False),
        (">=5.10", "5.9", False),
    ],
)
def test_ranges_hold_versions(text, version, holds):
    assert parse_range(text).holds(version) is holds


@given(names, st.lists(st.tuples(st.sampled_from([">=", "<=", ">", "<", "=="]), versions), max_size=4))
def test_needs_are_read_as_they_are_written(name, bounds):
    need = Need(name, VersionRange(tuple(bounds)))
    assert parse_need(str(need)) == need


@given(st.text(max_size=40))
def test_any_text_is_a_need_or_refused(text):
    try:
        need = parse_need(text)
    except LocalProtocolError:
        return
    assert parse_need(str(need)) == need


@pytest.mark.parametrize("text", ["", ">=5", "ffmpeg>=", "ffmpeg>=x", "ffmpeg 5", "a b", "f>=1,<2,>3,<4,>5", "ä", "9x"])
def test_what_is_no_need_is_refused(text):
    with pytest.raises(LocalProtocolError):
        parse_need(text)


def test_the_newest_offer_that_will_do_is_chosen():
    offers = (Offer("ffmpeg", "5.9"), Offer("FFmpeg", "5.10"), Offer("ffmpeg", "7"), Offer("http", "6"))
    assert parse_need("ffmpeg >= 5, < 7").met_by(offers) == Offer("FFmpeg", "5.10")
    assert parse_need("ffmpeg>8").met_by(offers) is None


def test_final_zeros_do_not_count():
    assert version_numbers("1.0.0") == version_numbers("1")
    assert version_numbers("0.0") == (0,)
