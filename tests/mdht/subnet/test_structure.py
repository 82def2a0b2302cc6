import pytest

from mdht.subnet.structure import StructuralChanges


def ids(numbers: str) -> list[bytes]:
    return [int(number).to_bytes(20, "big") for number in numbers.split()]


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [
        ("1 2 3", "1 2 3", 0),
        ("1 2 3", "2 3 1", 0),
        ("1 2 3", "1 2", 1),
        ("1 2", "1 2 3", 1),
        ("1 2 3", "2 3 4", 1),
        ("1 2 3", "4 5 6", 3),
        ("", "1", 1),
        ("1", "", 1),
    ],
)
def test_what_comes_in_the_place_of_another_is_one_change(before: str, after: str, count: int) -> None:
    changes = StructuralChanges()
    assert changes.note("successors", ids(before)) == 0, "what fills a role has changed nothing"
    assert changes.note("successors", ids(after)) == count
    assert (changes.made, changes.told) == (count, 0)


def test_roles_are_counted_each_and_what_siblings_have_found_apart() -> None:
    changes = StructuralChanges()
    for told in (False, True):
        changes.note("predecessor", ids("1"), told=told)
        changes.note("finger 7", ids("1"), told=told)
        changes.note("predecessor", ids("2"), told=told)
        changes.note("finger 7", ids("2"), told=told)
    assert (changes.made, changes.told) == (2, 4)
