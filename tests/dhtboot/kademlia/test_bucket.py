import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtboot.ids import PREFIX_SHIFT, NodeRef
from dhtboot.kademlia.bucket import CONTACTS_MAX, Bucket
from dhtboot.kademlia.config import KademliaConfig
from tests.dhtboot.strategies import ids

alike = st.builds(lambda high, low: high << PREFIX_SHIFT | low, st.integers(0, 3), st.integers(0, 7))
"Identifiers of which many differ in their last bits only."
members = st.lists(ids | alike, max_size=CONTACTS_MAX, unique=True)


def contact(identifier: int) -> NodeRef:
    return NodeRef(identifier, ("10.0.0.1", identifier % 65_535 + 1))


def bucket_of(identifiers: list[int]) -> Bucket:
    bucket = Bucket(0.0)
    for at, identifier in enumerate(identifiers):
        bucket.add(contact(identifier), float(at))
    return bucket


def closest(bucket: Bucket, target: int, count: int) -> list[int]:
    found: list[NodeRef] = []
    bucket.closest(target, target >> PREFIX_SHIFT, count, found)
    return [node.id for node in found]


@given(members, ids | alike, st.integers(1, CONTACTS_MAX))
def test_the_closest_are_those_of_a_full_search(identifiers: list[int], target: int, count: int) -> None:
    assert closest(bucket_of(identifiers), target, count) == sorted(identifiers, key=lambda i: i ^ target)[:count]


@given(members, st.lists(ids | alike, max_size=5), st.data())
def test_contacts_that_come_and_go_are_named_where_they_stand(
    identifiers: list[int], strangers: list[int], data: st.DataObject
) -> None:
    bucket = bucket_of(identifiers)
    for identifier in data.draw(st.permutations([*identifiers, *strangers]))[:20]:
        gone = bucket.remove(identifier)
        assert gone == (contact(identifier) if identifier in identifiers else None)
        identifiers = [other for other in identifiers if other != identifier]
        assert [node.id for node in bucket.contacts] == identifiers, "in the order in which they came"
        assert closest(bucket, identifier, CONTACTS_MAX) == sorted(identifiers, key=lambda i, t=identifier: i ^ t)
        assert bucket.place_of(identifier, identifier >> PREFIX_SHIFT) == -1
    for place, identifier in enumerate(identifiers):
        assert bucket.place_of(identifier, identifier >> PREFIX_SHIFT) == place


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 4))
def test_those_that_wait_are_the_last_ones_heard_of(heard: list[int], replacements_max: int) -> None:
    bucket = Bucket(0.0)
    for identifier in heard:
        bucket.wait(contact(identifier), replacements_max)
    latest_first = list(dict.fromkeys(reversed(heard)))[:replacements_max]
    assert [node.id for node in reversed(bucket.replacements)] == latest_first


def test_a_bucket_holds_no_more_than_it_can_number() -> None:
    assert KademliaConfig(k=CONTACTS_MAX).k == CONTACTS_MAX
    with pytest.raises(ValueError, match="at most 128"):
        KademliaConfig(k=CONTACTS_MAX + 1)
