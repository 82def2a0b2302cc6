from mdht.entry_points import KNOWN_MAX, SAVED_MAX, EntryPoints
from mdht.state import SavedContact


def address(number: int) -> tuple[str, int]:
    return f"192.0.{number // 250}.{number % 250}", 27183


def test_each_is_known_once_and_none_is_the_host_itself() -> None:
    known = EntryPoints()
    assert known.add(address(1))
    assert not known.add(address(1))
    assert known.add(address(2))
    assert known.others([address(2)]) == [address(1)]


def test_of_many_those_heard_of_last_are_known() -> None:
    known = EntryPoints()
    for number in range(KNOWN_MAX + 10):
        known.add(address(number))
    assert known.others([]) == [address(number) for number in range(10, KNOWN_MAX + 10)]


def test_some_hosts_of_an_earlier_run_are_tried_too() -> None:
    saved = [SavedContact(id=bytes(20), host=address(n)[0], port=address(n)[1], seen_at=0.0) for n in range(200)]
    assert EntryPoints(saved).others([]) == [address(number) for number in range(SAVED_MAX)]
