"""Strategies for IP packets with UDP."""

from hypothesis import strategies as st

from netserv.signaling.transport.packet import ROUTER_ALERT4, ROUTER_ALERT6

PORTS = st.integers(0, 0xFFFF)
PAYLOADS = st.binary(max_size=64)


def endpoints(size: int) -> st.SearchStrategy[tuple[bytes, int]]:
    return st.tuples(st.binary(min_size=size, max_size=size), PORTS)


def headers(size: int) -> st.SearchStrategy[dict[str, object]]:
    common = {"ttl": st.integers(0, 255), "tos": st.integers(0, 255)}
    if size == 4:
        options = st.sampled_from([b"", ROUTER_ALERT4, bytes.fromhex("01010100") + ROUTER_ALERT4])
        return st.fixed_dictionaries({**common, "options": options})
    options = st.sampled_from([b"", ROUTER_ALERT6, bytes.fromhex("1100010400000000")])
    return st.fixed_dictionaries({**common, "options": options, "flow_label": st.integers(0, 0xFFFFF)})


PACKETS = st.sampled_from([4, 16]).flatmap(
    lambda size: st.tuples(endpoints(size), endpoints(size), PAYLOADS, headers(size))
)
"Source, destination, payload, the rest of the header."
