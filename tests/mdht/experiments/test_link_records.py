from mdht.experiments.link_records import CRASHES, Kept, Settings, run
from mdht.experiments.store_run import key_of

SETTINGS = Settings(part=CRASHES, hosts=5, loss=0.0, records=20, events=3)


def test_a_record_that_all_its_holders_forget_is_lost_and_is_not_found() -> None:
    kept = Kept(SETTINGS, 1)
    kept.put(range(20))
    assert (kept.missing(), kept.unfound()) == ((0, 0), 0)
    for host in kept.link.holders(key_of(7)):
        host.store.stock.drop(key_of(7))
    assert (kept.missing(), kept.unfound()) == ((1, 0), 1)


def test_a_record_of_which_only_an_older_version_is_held_is_stale() -> None:
    kept = Kept(SETTINGS, 1)
    kept.put(range(20))
    kept.latest[3] = 2
    assert (kept.missing(), kept.unfound()) == ((0, 1), 1)


def test_records_are_not_where_they_belong_while_one_copy_is_missing() -> None:
    kept = Kept(SETTINGS, 1)
    kept.put(range(20))
    assert kept.placed_s() == 0.0
    kept.link.holders(key_of(7))[0].store.stock.drop(key_of(7))
    found = kept.placed_s()
    assert found is None or found > 0.0


def test_a_run_is_the_same_for_a_seed() -> None:
    assert run(SETTINGS, 5) == run(SETTINGS, 5)
