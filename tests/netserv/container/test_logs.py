"""Logs of modules: bounded, and harmless to read."""

from hypothesis import given
from hypothesis import strategies as st

from netserv.container.logs import LINE_CHARACTERS_MAX, LINES_MAX, PARTIAL_BYTES_MAX, Output, Ring, printable


@given(st.text(), st.integers(1, 50))
def test_any_text_is_one_printable_line_of_bounded_length(text: str, most: int) -> None:
    line = printable(text, most)
    assert line.isprintable()
    assert len(line) <= most + len(" ...")


def test_control_characters_are_written_out() -> None:
    assert printable("a\nb\x1b[2J\u202e\u2028", 99) == r"a\nb\x1b[2J\u202e\u2028"


def test_a_ring_keeps_the_last_lines_and_counts_all() -> None:
    ring = Ring()
    for number in range(LINES_MAX + 10):
        ring.add("info", str(number), 0.0)
    lines = ring.lines()
    assert (len(lines), lines[0].text, lines[-1].number) == (LINES_MAX, "10", LINES_MAX + 10)
    assert [line.text for line in ring.lines(after=LINES_MAX + 8)] == ["508", "509"]


def test_a_long_line_is_cut() -> None:
    ring = Ring()
    ring.add("info", "x" * 10 * LINE_CHARACTERS_MAX, 0.0)
    assert len(ring.lines()[0].text) == LINE_CHARACTERS_MAX + len(" ...")


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_lines_are_the_same_however_they_come(data: bytes, cuts: list[int]) -> None:
    pieces, output, begin = [], Output(), 0
    for cut in [*sorted(cuts), len(data)]:
        pieces += output.feed(data[begin:cut])
        begin = max(begin, cut)
    assert pieces == [line.decode("utf-8", "backslashreplace") for line in data.split(b"\n")[:-1]]


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    output = Output()
    found = [line for _ in range(100) for line in output.feed(b"x" * 1000)]
    assert found
    assert all(len(line) <= PARTIAL_BYTES_MAX + 1000 for line in found)
