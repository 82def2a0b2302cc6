import pytest

from mdht.experiments.interval import estimate, percent, plain


def test_a_single_seed_tells_nothing_of_the_spread() -> None:
    assert estimate([0.5]).text(plain) == "0.50"


def test_the_interval_is_that_of_student() -> None:
    found = estimate([1.0, 2.0, 3.0])
    assert (found.mean, found.seeds) == (2.0, 3)
    assert found.half == pytest.approx(4.303 / 3**0.5)  # standard deviation 1, two degrees of freedom
    assert found.text(plain) == "2.00 ± 2.48"


def test_many_seeds_have_the_normal_interval() -> None:
    assert estimate([0.0, 1.0] * 50).half == pytest.approx(1.96 * 0.5 / 10, rel=0.01)


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0 %"), (1e-9, "0 %"), (0.0017, "0.17 %"), (0.013, "1.3 %"), (0.455, "45.5 %")]
)
def test_shares_are_shown_with_two_digits(share: float, text: str) -> None:
    assert percent(share) == text
