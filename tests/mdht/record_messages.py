"""Strategies for what nodes ask and tell each other about records."""

from hypothesis import strategies as st

from mdht.messages import Answer, Get, Got, Listen, Listening, Offer, Pushed, Put, Question, Stored, Wanted
from mdht.records import VALUE_MAX, Copy, Record
from mdht.wire import page

keys = st.binary(min_size=20, max_size=20)
u64 = st.integers(min_value=0, max_value=2**64 - 1)
records = st.builds(
    Record,
    key=keys,
    writer=st.binary(min_size=32, max_size=32),
    name=st.binary(max_size=64),
    seq=u64,
    lease_s=st.integers(min_value=1, max_value=604_800),
    deleted=st.booleans(),
    value=st.binary(max_size=VALUE_MAX),
    signature=st.binary(min_size=64, max_size=64),
)
copies = st.builds(Copy, record=records, remaining_s=st.floats(min_value=0, max_value=700_000))
some_copies = st.lists(copies, max_size=8)


def questions(room: int) -> st.SearchStrategy[Question]:
    """With so much room for copies."""
    return st.one_of(
        st.builds(Get, key=keys, offset=st.integers(min_value=0, max_value=1000)),
        some_copies.map(lambda each: Put(page(each, room))),
        st.builds(Listen, key=keys, lease_s=st.floats(min_value=0, max_value=60)),
        st.lists(st.tuples(keys, u64), max_size=32).map(lambda each: Offer(tuple(each))),
    )


def answers(room: int) -> st.SearchStrategy[Answer]:
    """Likewise."""
    return st.one_of(
        st.builds(lambda held, digest: Got(page(held, room), len(held), digest), some_copies, u64),
        st.builds(Stored, codes=st.tuples(st.integers(0, 9)), retry_after_s=st.floats(0, 100)),
        st.builds(Listening, lease_s=st.floats(0, 60), count=st.integers(0, 1000), digest=u64),
        st.builds(Wanted, positions=st.lists(st.integers(0, 31), max_size=32).map(tuple)),
    )


def notes(room: int) -> st.SearchStrategy[Pushed]:
    """Likewise."""
    return some_copies.map(lambda each: Pushed(page(each, room)))
