import math
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from netserv.signaling.nslp.deadlines import Deadlines

steps = st.lists(st.tuples(st.sampled_from("sdt"), st.integers(0, 4), st.integers(0, 20)), max_size=60)


@given(steps)
def test_it_does_what_a_plain_table_does(steps: list[tuple[str, int, int]]) -> None:
    deadlines: Deadlines[int] = Deadlines()
    table: dict[int, int] = {}
    for what, key, at in steps:
        match what:
            case "s":
                deadlines.set(key, at)
                table[key] = at
            case "d":
                deadlines.drop(key)
                table.pop(key, None)
            case _:
                due = deadlines.due(at)
                assert sorted(due) == sorted(key for key, when in table.items() if when <= at)
                assert [table[key] for key in due] == sorted(table[key] for key in due)
                for one in due:
                    del table[one]
        assert deadlines.next() == min(table.values(), default=math.inf)
        assert len(deadlines) == len(table)


def test_moved_deadlines_do_not_pile_up() -> None:
    deadlines: Deadlines[int] = Deadlines()
    rng = Random(1)
    for _ in range(10_000):
        deadlines.set(rng.randrange(10), rng.random())
    assert len(deadlines._heap) < 100
