from random import Random

from dhtboot.chord.config import ChordConfig
from dhtboot.chord.periods import Period


def test_a_fixed_period_is_fixed_whatever_happens() -> None:
    period = Period(5.0, 5.0, 60.0, ChordConfig.thesis(), Random(1))
    for _ in range(10):
        assert period.next() == 5.0
        period.calm()


def test_a_random_period_stays_within_its_bounds() -> None:
    period = Period(1.0, 5.0, 60.0, ChordConfig.thesis(), Random(1))
    drawn = [period.next() for _ in range(500)]
    assert min(drawn) >= 1.0
    assert max(drawn) <= 5.0
    assert max(drawn) - min(drawn) > 3.0


def test_quiet_rounds_double_the_period_up_to_its_limit_and_a_change_resets_it() -> None:
    period = Period(5.0, 5.0, 60.0, ChordConfig(), Random(1))
    seen = []
    for _ in range(7):
        seen.append(period.next())
        period.calm()
    assert seen == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0]
    period.reset()
    assert period.next() == 5.0
