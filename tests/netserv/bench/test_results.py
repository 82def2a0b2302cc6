import pytest

from netserv.bench.results import medians, quantile
from tests.netserv.bench.rows import FOUND


def test_numbers_of_several_rounds_become_medians_with_the_least_and_the_most() -> None:
    (found,) = [each for each in medians(FOUND.rates) if each[0].configuration == "KeepAlive"]
    middle, least, most = found
    assert (middle.ratio, least.ratio, most.ratio) == (0.60, 0.50, 0.70)
    assert (middle.packets_per_s, middle.round) == (1.2e6, 3)


def test_what_differs_in_plane_configuration_size_or_number_is_kept_apart_and_in_its_order() -> None:
    assert [(row.configuration, row.plane) for row, _, _ in medians(FOUND.rates)] == [
        ("netfilter rules", "none"),
        ("KeepAlive", "xdp"),
        ("container", "netfilter"),
    ]
    assert [row.containers for row, _, _ in medians(FOUND.crowds)] == [1, 100]
    assert medians([]) == []


@pytest.mark.parametrize(("share", "value"), [(0.0, 0), (0.5, 50), (0.99, 99), (1.0, 99)])
def test_a_quantile_is_one_of_the_values(share: float, value: int) -> None:
    assert quantile([float(each) for each in reversed(range(100))], share) == value
