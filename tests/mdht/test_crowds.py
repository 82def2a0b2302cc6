from hypothesis import given
from hypothesis import strategies as st

from mdht.crowds import Crowds


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"), st.integers(0, 5)), max_size=80))
def test_the_largest_group_is_always_known(steps: list[tuple[bool, str, int]]) -> None:
    crowds: Crowds[int] = Crowds()
    model: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    for add, group, member in steps:
        if add and member not in model[group]:
            crowds.add(group, member)
            model[group].append(member)
        elif not add and member in model[group]:
            crowds.discard(group, member)
            model[group].remove(member)
        size, newest_first = crowds.newest_first()
        assert size == max(map(len, model.values()))
        assert list(newest_first) in [members[::-1] for members in model.values()]
        assert all(crowds.size(name) == len(members) for name, members in model.items())
