from hypothesis import given
from hypothesis import strategies as st

from mdht.subnet.replay import SENDERS_MAX, WINDOW, ReplayWindows, Seen

HID = b"hosthost"
near = st.lists(st.integers(0, 3 * WINDOW), max_size=200)
numbers = st.lists(st.integers(0, 0xFFFF_FFFF) | st.integers(0, 3 * WINDOW), max_size=100)


@given(near | numbers)
def test_each_number_passes_at_most_once_and_what_is_near_the_largest_passes(sequence: list[int]) -> None:
    windows = ReplayWindows()
    passed: set[int] = set()
    for number in sequence:
        seen = windows.look(HID, 1, number)
        behind = max(passed, default=number) - number
        if behind >= WINDOW:
            assert seen is Seen.OLD
        else:
            assert seen is (Seen.DUPLICATE if number in passed else Seen.FRESH)
        if seen is Seen.FRESH:
            passed.add(number)


@given(st.permutations(range(WINDOW)))
def test_any_order_within_the_window_passes_whole(sequence: list[int]) -> None:
    windows = ReplayWindows()
    assert [windows.look(HID, 1, number) for number in sequence] == [Seen.FRESH] * WINDOW
    assert {windows.look(HID, 1, number) for number in sequence} == {Seen.DUPLICATE}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, WINDOW - 1)), max_size=100))
def test_a_new_incarnation_starts_anew_and_ends_the_former_one(sequence: list[tuple[int, int]]) -> None:
    windows = ReplayWindows()
    newest, passed = -1, set()
    for incarnation, number in sequence:
        seen = windows.look(HID, incarnation, number)
        if incarnation < newest:
            assert seen is Seen.OLD
        else:
            newest = incarnation
            assert seen is (Seen.DUPLICATE if (incarnation, number) in passed else Seen.FRESH)
            passed.add((incarnation, number))


@given(st.lists(st.tuples(st.sampled_from([b"a" * 8, b"b" * 8]), st.integers(0, 200)), max_size=100))
def test_senders_do_not_touch_each_other(sequence: list[tuple[bytes, int]]) -> None:
    together, apart = ReplayWindows(), {b"a" * 8: ReplayWindows(), b"b" * 8: ReplayWindows()}
    for hid, number in sequence:
        assert together.look(hid, 1, number) is apart[hid].look(hid, 1, number)


def test_of_too_many_senders_the_one_unheard_for_longest_is_forgotten() -> None:
    windows = ReplayWindows()
    names = [number.to_bytes(8) for number in range(SENDERS_MAX)]
    for name in names:
        windows.look(name, 5, 1)
    windows.look(names[0], 5, 2)
    windows.look(HID, 1, 1)
    assert len(windows) == SENDERS_MAX
    assert windows.look(names[0], 5, 1) is Seen.DUPLICATE
    assert windows.look(names[1], 5, 1) is Seen.FRESH
