from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from mdht.subnet.bounded import remember


@given(st.lists(st.tuples(st.integers(0, 9), st.integers())), st.integers(1, 6))
def test_what_was_noted_last_is_remembered_as_far_as_there_is_room(notes: list[tuple[int, int]], size: int) -> None:
    table: OrderedDict[int, int] = OrderedDict()
    for key, value in notes:
        remember(table, key, value, size)
        assert len(table) <= size
    newest = list(dict(reversed(notes)))[:size]
    assert list(reversed(table)) == newest
    assert all(table[key] == [value for noted, value in notes if noted == key][-1] for key in table)


def test_what_is_noted_again_is_forgotten_later() -> None:
    table: OrderedDict[str, int] = OrderedDict()
    for key in ("a", "b", "a", "c"):
        remember(table, key, 0, 2)
    assert list(table) == ["a", "c"]
