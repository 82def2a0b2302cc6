"""Strategies for the messages of a link, and one fixed example of each for the published vectors."""

from typing import Any, Final

from hypothesis import strategies as st

from mdht.subnet.identity import POLICY_MAX, Identity, Kind
from mdht.subnet.messages import (
    Ack,
    AckStatus,
    Ask,
    Bye,
    Changed,
    Fetch,
    Have,
    Hello,
    Here,
    HostRef,
    HostSet,
    Inventory,
    MemberEntry,
    Message,
    Nack,
    Neighbour,
    NodeEntry,
    NodeState,
    Note,
    Ping,
    PingRequest,
    Pong,
    Put,
    Range,
    Reason,
    State,
    Subscribe,
    Suspect,
    Value,
    View,
    Want,
    WhoHas,
)
from mdht.subnet.sync_messages import BucketHash, Compare, Differ, KeyEntry, KeyList, ListKeys
from mdht.subnet.wire import Header
from tests.dhtboot.strategies import addresses


def exactly(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


def up_to(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << bits) - 1)


def tuples(of: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=most).map(tuple)


keys = exactly(20)
eights = exactly(8)
u8, u16, u32, u64 = up_to(8), up_to(16), up_to(32), up_to(64)
states = st.sampled_from(State)
salts = st.just(b"") | eights
identities = (
    st.builds(Identity, st.just(Kind.PREFIX_4), exactly(5), salts)
    | st.builds(Identity, st.just(Kind.PREFIX_6), exactly(17), salts)
    | st.builds(Identity, st.just(Kind.RANDOM), exactly(16), salts)
    | st.builds(Identity, st.just(Kind.NAME), st.binary(min_size=1, max_size=64), salts)
    | st.builds(Identity, st.just(Kind.GATEWAY), exactly(9), salts)
)
host_refs = st.builds(HostRef, hid=eights, address=addresses, age_s=u16, fails=u8, rtt_ms=u16)
entries = st.builds(NodeEntry, identity=identities, tag=eights, view_epoch=u32, size=u16, hosts=tuples(host_refs, 8))
neighbours = st.builds(Neighbour, node_id=keys, tag=eights, view_epoch=u32)
members = st.builds(MemberEntry, hid=eights, incarnation=u32, state=states, addresses=tuples(addresses, 4), age_s=u16)
bucket_hashes = st.builds(BucketHash, number=u8, hash=eights)
key_entries = st.builds(KeyEntry, key=keys, hash=eights, wanted=u8, holders=tuples(eights, 8))
asks = st.sampled_from([Ask.ANY, Ask.LATEST, Ask.LATEST | Ask.DENIAL])
messages: Final[st.SearchStrategy[Message]] = st.one_of(
    st.builds(
        Hello,
        want=st.sampled_from([Want.NOTHING, Want.ANSWER, Want.ANSWER | Want.COPY]),
        addresses=tuples(addresses, 4),
        overlay_hash=keys,
        key_id=st.binary(max_size=8),
    ),
    st.builds(
        Here,
        state=states,
        addresses=tuples(addresses, 4),
        load=u16,
        size=u16,
        heard=u16,
        view_epoch=u32,
        view_hash=eights,
        node_state_hash=eights,
        data_root=eights,
        last_put=u32,
        identity=st.none() | identities,
        founded_s=st.none() | u32,
        policy=st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=POLICY_MAX),
        unheard=tuples(eights, 8),
        mapped=st.none() | addresses,
        unlisted=st.none() | st.booleans(),
    ),
    st.builds(Bye, handed_over=st.booleans()),
    st.builds(Suspect, target=eights, incarnation=u32, silent_ds=u16),
    st.builds(
        NodeState,
        ring_id=eights,
        epoch=u32,
        neighbours=tuples(neighbours, 9),
        changed=st.none() | entries,
        author=st.none() | eights,
        turn=st.none() | u32,
        client=st.none() | st.booleans(),
    ),
    st.builds(WhoHas, qid=eights, key=keys, ask=asks, hops=u8),
    st.builds(Have, qid=eights, key=keys, stamp=eights, newest=u64, records=u16, size=u32),
    st.builds(Note, key=keys, stamp=eights, wanted=u8, holders=tuples(eights, 8)),
    st.builds(Range, low=keys, high=keys, receiver=entries, transfer=eights),
    st.builds(Inventory, generation=u32, part=u8, filter=st.binary(max_size=700), prefixes=tuples(eights, 40)),
    st.builds(Ping, nonce=eights),
    st.builds(Pong, nonce=eights),
    st.builds(PingRequest, nonce=eights, target=eights),
    st.builds(View, epoch=u32, members=tuples(members, 8), answer=st.booleans()),
    st.builds(Put, qid=eights, record=st.binary(max_size=1000), done=u8),
    st.builds(Ack, qid=eights, status=st.sampled_from(AckStatus)),
    st.builds(Fetch, qid=eights, key=keys, cached=st.none() | st.booleans()),
    st.builds(Value, qid=eights, key=keys, records=tuples(st.binary(max_size=200), 4)),
    st.builds(Nack, qid=eights, key=keys),
    st.builds(HostSet, entry=entries, reason=st.sampled_from(Reason)),
    st.builds(Compare, qid=eights, common=st.booleans(), buckets=tuples(bucket_hashes, 86)),
    st.builds(Differ, qid=eights, compared=u8, buckets=st.binary(max_size=86)),
    st.builds(ListKeys, qid=eights, common=st.booleans(), first=u8, last=u8, after=st.just(b"") | keys),
    st.builds(
        KeyList,
        qid=eights,
        entries=tuples(key_entries, 10),
        first=u8,
        after=st.just(b"") | keys,
        more=st.booleans(),
    ),
    st.builds(Subscribe, key=keys, node_id=keys, hid=eights, address=addresses, lease_s=u16, via=st.none() | eights),
    st.builds(Changed, record=st.binary(max_size=1000)),
)
headers = st.builds(Header, subnet_tag=eights, hid=eights, incarnation=u32, seq=u32, to_all=st.booleans())

HEADER: Final = Header(subnet_tag=b"tagtagta", hid=b"hosthost", incarnation=3, seq=1000)
_KEY: Final = bytes(range(20))
_V4, _V6 = ("192.0.2.7", 27183), ("2001:db8::7", 27183)
_ENTRY: Final = NodeEntry(
    identity=Identity(Kind.NAME, b"lab"),
    tag=b"tagtagta",
    view_epoch=9,
    size=12,
    hosts=(HostRef(hid=b"hosthost", address=_V4, age_s=4, fails=1, rtt_ms=50),),
)
EXAMPLES: Final[tuple[Message, ...]] = (
    Hello(addresses=(_V4, _V6), overlay_hash=_KEY, key_id=b"k1"),
    Here(
        state=State.READY,
        addresses=(_V4,),
        load=7,
        size=3,
        heard=2,
        view_epoch=9,
        view_hash=b"viewhash",
        node_state_hash=b"nodestat",
        data_root=b"dataroot",
        last_put=17,
    ),
    Bye(handed_over=True),
    Suspect(target=b"othehost", incarnation=5, silent_ds=31),
    NodeState(
        ring_id=b"ringring",
        epoch=4,
        neighbours=(Neighbour(node_id=_KEY, tag=b"tagtagta", view_epoch=9),),
        changed=_ENTRY,
    ),
    WhoHas(qid=b"queryqid", key=_KEY, ask=Ask.LATEST | Ask.DENIAL, hops=2),
    Have(qid=b"queryqid", key=_KEY, stamp=b"stampsta", newest=1 << 40, records=2, size=512),
    Note(key=_KEY, stamp=b"stampsta", wanted=3, holders=(b"hosthost", b"othehost")),
    Range(low=bytes(20), high=_KEY, receiver=_ENTRY, transfer=b"transfer"),
    Inventory(generation=2, part=1, filter=b"\x01\x80", prefixes=(b"prefix_1",)),
    Ping(nonce=b"noncenon"),
    Pong(nonce=b"noncenon"),
    PingRequest(nonce=b"noncenon", target=b"othehost"),
    View(
        epoch=9,
        members=(MemberEntry(hid=b"hosthost", incarnation=3, state=State.SUSPECT, addresses=(_V4, _V6), age_s=2),),
    ),
    Put(qid=b"queryqid", record=b"a record", done=1),
    Ack(qid=b"queryqid", status=AckStatus.FULL),
    Fetch(qid=b"queryqid", key=_KEY),
    Value(qid=b"queryqid", key=_KEY, records=(b"one", b"", b"three")),
    Nack(qid=b"queryqid", key=_KEY),
    HostSet(entry=_ENTRY, reason=Reason.DEATH),
    Compare(qid=b"queryqid", common=True, buckets=(BucketHash(0, b"hash0000"), BucketHash(255, b"hash0255"))),
    Differ(qid=b"queryqid", compared=2, buckets=b"\xff"),
    ListKeys(qid=b"queryqid", common=False, first=3, last=255, after=_KEY),
    KeyList(
        qid=b"queryqid",
        entries=(KeyEntry(_KEY, b"hashhash"), KeyEntry(_KEY, b"hashhash", 3, (b"hosthost", b"othehost"))),
        first=4,
        after=_KEY,
        more=True,
    ),
    Subscribe(key=_KEY, node_id=_KEY, hid=b"hosthost", address=_V6, lease_s=60),
    Changed(record=b"a record"),
)
"One of each message, for the vectors."
EXAMPLES_IN_FULL: Final[dict[str, Message]] = {
    "Here with its subnet": Here(
        state=State.READY,
        addresses=(_V4,),
        load=7,
        size=3,
        heard=2,
        view_epoch=9,
        view_hash=b"viewhash",
        node_state_hash=b"nodestat",
        data_root=b"dataroot",
        last_put=17,
        identity=Identity(Kind.NAME, b"lab", b"saltsalt"),
        founded_s=86_400,
        policy="fixed:3",
        mapped=("192.0.2.8", 40000),
        unlisted=True,
    ),
    "Here with hosts that it does not hear": Here(
        state=State.READY,
        addresses=(_V4,),
        load=7,
        size=4,
        heard=1,
        view_epoch=9,
        view_hash=b"viewhash",
        node_state_hash=b"nodestat",
        data_root=b"dataroot",
        last_put=17,
        unheard=(b"othehost", b"lasthost"),
    ),
    "Hello of one who hears nobody": Hello(
        want=Want.ANSWER | Want.COPY, addresses=(_V4,), overlay_hash=_KEY, key_id=b""
    ),
    "NodeState told on": NodeState(
        ring_id=b"ringring",
        epoch=4,
        neighbours=(Neighbour(node_id=_KEY, tag=b"tagtagta", view_epoch=9),),
        author=b"othehost",
        turn=12,
        client=True,
    ),
    "Subscribe by one host": Subscribe(
        key=_KEY, node_id=_KEY, hid=b"hosthost", address=_V4, lease_s=60, via=b"othehost"
    ),
    "Fetch from a cache": Fetch(qid=b"queryqid", key=_KEY, cached=True),
}
"The same messages with what they need not have."
