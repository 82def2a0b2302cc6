from random import Random

import pytest

from mdht.experiments.subnet_run import Churn, KnownOrder, Orders, SubnetRun, lives, simulate
from mdht.subnet.durability import loss_share
from mdht.subnet.policies import Fixed, Scene
from mdht.subnet.view import rank

HOUR_S = 3600.0


@pytest.mark.parametrize(
    "policy",
    [
        "single",
        "full",
        "fixed:1",
        "fixed:2",
        "fixed:3",
        "fixed:5",
        "fixed:3:receiver",
        "adaptive:1:0.5",
        "adaptive:2:1",
    ],
)
def test_nothing_is_lost_where_all_hand_over_before_they_leave(policy: str) -> None:
    outcome = simulate(policy, Churn(median_s=84.0, crash_share=0.0, duration_s=HOUR_S), 15, 1)
    assert outcome.lives > 150
    assert outcome.lost == 0


def test_nothing_is_lost_where_hosts_leave_as_fast_as_they_hand_over() -> None:
    for seed in range(5):
        churn = Churn(hosts=6, median_s=10.0, crash_share=0.0, duration_s=300.0)
        assert simulate("fixed:2", churn, 20, seed).lost == 0


@pytest.mark.parametrize(("copies", "median_s"), [(1, 3600.0), (2, 120.0), (3, 60.0)])
def test_crashes_lose_what_the_model_says_within_a_factor_of_two(copies: int, median_s: float) -> None:
    churn = Churn(median_s=median_s, crash_share=1.0, duration_s=HOUR_S / 2)
    lost = sum(simulate(f"fixed:{copies}", churn, 40, seed).lost for seed in range(3)) / 120
    model = loss_share(copies, churn.detection_s + churn.transfer_s, median_s, churn.duration_s)
    assert model / 2 <= lost <= model * 2


def test_a_run_repeats_itself() -> None:
    churn = Churn(median_s=84.0, crash_share=0.5, duration_s=HOUR_S)
    assert simulate("fixed:2", churn, 20, 3) == simulate("fixed:2", churn, 20, 3)
    assert simulate("fixed:2", churn, 20, 3) != simulate("fixed:2", churn, 20, 4)


def test_all_policies_meet_the_same_churn() -> None:
    churn = Churn(median_s=600.0, crash_share=1.0, duration_s=HOUR_S)
    assert len({simulate(policy, churn, 5, 1).lives for policy in ("fixed:1", "fixed:4", "full", "single")}) == 1


@pytest.mark.parametrize("copies", [1, 3, 5])
@pytest.mark.parametrize("crash_share", [0.0, 0.5, 1.0])
def test_an_order_looked_up_changes_nothing(copies: int, crash_share: float) -> None:
    churn = Churn(median_s=84.0, crash_share=crash_share, duration_s=HOUR_S / 2)
    places = lives(churn, Random(2))
    keys = [Random(f"key {number}").randbytes(20) for number in range(10)]
    orders = Orders(keys, [life.hid for place in places for life in place])
    shipped = SubnetRun(lambda: Fixed(copies), churn, places, keys, Random(3)).run()
    looked_up = SubnetRun(lambda: KnownOrder(copies, orders), churn, places, keys, Random(3)).run()
    assert shipped == looked_up


def test_one_event_is_not_answered_with_another_ones_order() -> None:
    rng = Random(4)
    hids = [rng.randbytes(8) for _ in range(8)]
    keys = [rng.randbytes(20) for _ in range(20)]
    orders = Orders(keys, hids)
    shipped, looked_up = Fixed(3), KnownOrder(3, orders)
    for _ in range(30):
        ready = tuple(rng.sample(hids, rng.randrange(2, 8)))
        gone = rng.choice(hids)
        scene = Scene(ready[0], ready, dict.fromkeys(keys), 0.0)
        assert looked_up.on_dead(gone, scene) == shipped.on_dead(gone, scene)
        assert looked_up.on_join(gone, scene) == shipped.on_join(gone, scene)
    assert orders.order(keys[0], hids) == rank(keys[0], hids)


def test_lives_last_as_long_as_they_should() -> None:
    churn = Churn(median_s=60.0, crash_share=0.25, duration_s=100 * HOUR_S)
    found = [life for place in lives(churn, Random(1)) for life in place]
    assert sum(life.lasts_s < 60.0 for life in found) / len(found) == pytest.approx(0.5, abs=0.02)
    assert sum(life.crashes for life in found) / len(found) == pytest.approx(0.25, abs=0.02)
