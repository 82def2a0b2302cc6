import pytest

from mdht.subnet.election import EXCLUDED_MAX, Election
from mdht.subnet.identity import NO_TAG

TAG = b"tagtagta"


def name(number: int) -> bytes:
    return number.to_bytes(8, "big")


def election(*, remembers: bool = False) -> Election:
    return Election(name(5), remembers=remembers, fresh_s=11.0, most=4)


@pytest.mark.parametrize(
    ("remembers", "others", "first"),
    [
        (False, [], None),
        (False, [(6, NO_TAG)], None),
        (False, [(6, NO_TAG), (4, NO_TAG), (3, NO_TAG)], 3),
        (False, [(4, NO_TAG), (9, TAG)], 9),
        (True, [(4, NO_TAG), (9, TAG)], None),
        (True, [(4, TAG)], 4),
    ],
)
def test_who_remembers_comes_first_then_the_smallest_name(
    remembers: bool, others: list[tuple[int, bytes]], first: int | None
) -> None:
    found = election(remembers=remembers)
    for number, tag in others:
        found.heard(name(number), tag, 0.0)
    assert found.first(1.0) == (None if first is None else name(first))


def test_who_was_not_heard_lately_does_not_count() -> None:
    found = election()
    found.heard(name(1), NO_TAG, 0.0)
    found.heard(name(2), NO_TAG, 5.0)
    assert found.first(11.0) == name(1)
    assert found.first(11.1) == name(2)


def test_who_was_elected_in_vain_is_not_elected_again() -> None:
    found = election()
    found.heard(name(1), NO_TAG, 0.0)
    found.exclude(name(1))
    assert found.is_excluded(name(1))
    assert found.first(1.0) is None


def test_memory_is_bounded() -> None:
    found = election()
    for number in range(6, 30):
        found.heard(name(number), NO_TAG, 0.0)
    found.heard(name(1), NO_TAG, 0.0)
    assert found.first(0.0) == name(1)
    assert len(found._heard) == 4
    for number in range(EXCLUDED_MAX + 1):
        found.exclude(name(number))
    assert not found.is_excluded(name(0))
    assert found.is_excluded(name(EXCLUDED_MAX))
