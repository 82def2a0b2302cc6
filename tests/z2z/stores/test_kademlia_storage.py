import pytest

from mdht.records import Record
from mdht.signing import SigningKey
from z2z.stores import kademlia_storage
from z2z.stores.kademlia_sets import SET_MAX, absorb, encode, seq_at
from z2z.stores.kademlia_storage import FOREIGN_LIFE_S, SetStorage

KEY, OTHER = b"k" * 20, b"o" * 20
TOM = SigningKey.from_seed(b"t" * 32)


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage(clock: Clock) -> SetStorage:
    return SetStorage(clock)


def record(clock, name=b"n", value=b"v", lease_s=60, key=KEY, deleted=False):
    return Record.signed(
        key=key, writer=TOM, name=name, seq=seq_at(clock()), lease_s=lease_s, value=value, deleted=deleted
    )


def test_storing_merges(storage, clock):
    first, second = record(clock, b"a"), record(clock, b"b")
    assert storage.store(KEY, encode((first,)))
    assert storage.store(KEY, encode((second,)))
    assert storage.get(KEY) == storage[KEY] == encode((first, second))
    assert storage.count() == 2


def test_an_older_version_is_held_already_and_changes_nothing(storage, clock):
    old = record(clock)
    clock.now += 1
    new = record(clock, value=b"w")
    assert storage.store(KEY, encode((new,)))
    assert storage.store(KEY, encode((old,))) is True
    assert storage.held(KEY) == (new,)


def test_a_tombstone_counts_as_no_value(storage, clock):
    storage[KEY] = encode((record(clock, value=b"", deleted=True),))
    assert storage.count() == 0
    assert storage.get(KEY) is not None


def test_leases_end_by_themselves(storage, clock):
    storage[KEY] = encode((record(clock, lease_s=60),))
    clock.now += 60
    assert storage.count() == 0
    assert storage.get(KEY) is None
    assert list(storage) == []
    with pytest.raises(KeyError):
        storage[KEY]


def test_what_does_not_fit_is_told(storage, clock):
    full = absorb((), [record(clock, b"%02d" % number, b"x" * 650) for number in range(20)])
    assert storage.store(KEY, encode(full))
    assert not storage.store(KEY, encode((record(clock, b"late", b"x" * 700),)))
    assert storage.held(KEY) == full


def test_a_full_storage_takes_new_keys_when_old_ones_have_ended(storage, clock, monkeypatch):
    monkeypatch.setattr(kademlia_storage, "KEYS_MAX", 1)
    assert storage.store(KEY, encode((record(clock, lease_s=10),)))
    other = encode((record(clock, key=OTHER),))
    assert not storage.store(OTHER, other)
    assert storage.store(KEY, encode((record(clock, b"more"),)))
    own = record(clock, key=b"p" * 20, lease_s=10)
    assert storage.absorb(own.key, [own]) == ()
    assert storage.absorb(own.key, [own], always=True) == (own,)
    clock.now += 60
    other = encode((record(clock, key=OTHER),))
    assert storage.store(OTHER, other)
    assert [key for key, _ in storage] == [OTHER]


@pytest.mark.parametrize("value", ["text", 1, 1.5, True, b"bytes"])
def test_values_of_other_programs_are_kept_for_a_week(storage, clock, value):
    assert storage.store(KEY, value)
    assert storage.get(KEY) == value
    assert storage.count() == 0
    clock.now += FOREIGN_LIFE_S
    assert storage.get(KEY) is None


def test_of_too_many_values_of_other_programs_the_oldest_go(storage, monkeypatch):
    monkeypatch.setattr(kademlia_storage, "FOREIGN_MAX", 2)
    for number in range(3):
        storage[b"%020d" % number] = number
    assert [value for _, value in storage] == [1, 2]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (KEY, None),
        (KEY, [1]),
        (KEY, {}),
        (KEY, "x" * (SET_MAX + 1)),
        (b"short", 1),
        (7, 1),
        ([], 1),
        (KEY, b"z2z set 1\0"),
    ],
)
def test_what_no_node_stores_is_not_stored(storage, key, value):
    assert not storage.store(key, value)
    assert storage.get(key, "nothing") == "nothing"


def test_a_set_wins_over_the_value_of_another_program(storage, clock):
    storage[KEY] = encode((record(clock),))
    storage[KEY] = "text"
    assert storage.get(KEY) == encode(storage.held(KEY))


def test_what_was_not_stored_for_an_hour_is_due_to_be_stored_again(storage, clock):
    storage[KEY] = encode((record(clock, lease_s=7_200),))
    storage[OTHER] = "text"
    assert list(storage.iter_older_than(3600)) == []
    clock.now += 3600
    assert [key for key, _ in storage.iter_older_than(3600)] == [KEY, OTHER]
