import pytest

from mdht.ports.epoch import Epoch


@pytest.mark.parametrize(
    ("later_s", "epoch_s", "expected"),
    [
        (0.0, 1000, True),
        (0.5, 999, True),  # out of order
        (0.5, 998, False),
        (60.0, 1060, True),
        (60.0, 1055, True),  # a clock that goes wrong by a sixteenth, and 2 s
        (60.0, 1053, False),
        (60.0, 1067, False),
        (86_400.0, 1000 + 86_400, True),
        (86_400.0, 5, False),  # the router was switched off and on
    ],
)
def test_a_router_that_has_lost_its_state_is_known_by_its_epoch(later_s: float, epoch_s: int, expected: bool) -> None:
    epoch = Epoch()
    assert epoch.note(1000, 7.0), "the first one is always right"
    assert epoch.note(epoch_s, 7.0 + later_s) is expected


def test_each_is_compared_with_the_one_before() -> None:
    epoch = Epoch()
    assert [epoch.note(number, now) for number, now in ((1000, 0.0), (3, 10.0), (13, 20.0))] == [True, False, True]
