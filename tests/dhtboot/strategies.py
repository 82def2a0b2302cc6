"""Strategies for ids, contacts and packets."""

from typing import Any

from hypothesis import strategies as st

from dhtboot.ids import ID_BITS, ID_BYTES, NodeRef
from dhtboot.kademlia.messages import (
    Busy,
    FindNode,
    Leaving,
    Nodes,
    Packet,
    Ping,
    Pong,
    Tell,
)

ids = st.integers(0, (1 << ID_BITS) - 1)
ports = st.integers(1, 65_535)
hosts = st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str)
addresses = st.tuples(hosts, ports)
nodes = st.builds(NodeRef, ids, addresses)
id_blobs = st.binary(min_size=ID_BYTES, max_size=ID_BYTES)
cookies = st.just(b"") | st.binary(min_size=8, max_size=8)
words = st.none() | st.text(max_size=20)

messages: st.SearchStrategy[Any] = st.one_of(
    st.just(Ping()),
    st.builds(Pong, st.binary(max_size=18), cookies),
    st.builds(FindNode, id_blobs, words),
    st.builds(Nodes, st.lists(nodes, max_size=8).map(tuple), words, cookies),
    st.builds(Tell, st.text(max_size=20)),
    st.builds(Busy, st.floats(0, 1e6)),
    st.just(Leaving()),
)
packets = st.builds(Packet, st.just(b"") | id_blobs, st.integers(0, (1 << 64) - 1), messages, cookies)
