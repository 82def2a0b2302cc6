import math

import pytest

from mdht.experiments.quantile import quantile


@pytest.mark.parametrize(
    ("values", "share", "wanted"),
    [
        ([3.0], 0.01, 3.0),
        ([3.0, 1.0, 2.0, 4.0], 0.5, 2.0),
        ([3.0, 1.0, 2.0, 4.0], 0.51, 3.0),
        ([*range(100, 0, -1)], 0.99, 99),
        ([1.0, None], 0.5, 1.0),
        ([1.0, None], 1.0, math.inf),
    ],
)
def test_a_quantile_is_the_smallest_value_that_enough_do_not_exceed(
    values: list[float | None], share: float, wanted: float
) -> None:
    assert quantile(values, share) == wanted
