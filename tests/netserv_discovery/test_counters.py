from netserv_discovery.counters import counted


def test_counters_are_told_in_the_order_of_their_names_without_those_that_count_nothing() -> None:
    assert counted({"expired": 3, "bad_signature": 1, "late": 0}) == "1 bad_signature, 3 expired"
    assert not counted({"late": 0})
