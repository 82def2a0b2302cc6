import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtboot.rtt import RttEstimator, TimeoutConfig

A = ("10.0.0.1", 1)
B = ("10.0.0.2", 1)


def test_before_any_sample_the_initial_timeout_holds() -> None:
    estimator = RttEstimator(TimeoutConfig())
    assert estimator.timeout_s(A) == estimator.hedge_s() == 0.5
    assert estimator.mean_s(A) is None


def test_the_estimates_follow_rfc_6298() -> None:
    estimator = RttEstimator(TimeoutConfig())
    estimator.sample(A, 0.1)
    assert estimator.mean_s(A) == pytest.approx(0.1)
    assert estimator.timeout_s(A) == pytest.approx(0.1 + 4 * 0.05)
    estimator.sample(A, 0.2)
    deviation = 0.75 * 0.05 + 0.25 * 0.1
    assert estimator.mean_s(A) == pytest.approx(0.1125)
    assert estimator.timeout_s(A) == pytest.approx(0.1125 + 4 * deviation)


def test_a_stranger_gets_twice_the_bound_of_all() -> None:
    estimator = RttEstimator(TimeoutConfig())
    estimator.sample(A, 0.1)
    assert estimator.hedge_s() == pytest.approx(0.3)
    assert estimator.timeout_s(B) == pytest.approx(0.6)


@given(st.lists(st.floats(0, 60), min_size=1, max_size=50))
def test_timeouts_stay_within_their_bounds(samples: list[float]) -> None:
    config = TimeoutConfig()
    estimator = RttEstimator(config)
    for rtt_s in samples:
        estimator.sample(A, rtt_s)
        for value in (estimator.timeout_s(A), estimator.timeout_s(B), estimator.hedge_s()):
            assert config.min_s <= value <= config.max_s
    mean = estimator.mean_s(A)
    assert mean is not None
    assert min(samples) - 1e-9 <= mean <= max(samples) + 1e-9


def test_the_peer_not_measured_for_longest_is_forgotten() -> None:
    estimator = RttEstimator(TimeoutConfig(peers_max=2))
    for address in (A, B, A, ("10.0.0.3", 1)):
        estimator.sample(address, 0.1)
    assert estimator.mean_s(A) is not None
    assert estimator.mean_s(B) is None


@pytest.mark.parametrize("bounds", [{"min_s": 0.0}, {"min_s": 1.0}, {"initial_s": 2.0}])
def test_senseless_bounds_are_refused(bounds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="timeouts"):
        TimeoutConfig(**bounds)
