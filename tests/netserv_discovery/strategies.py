"""Records for property tests."""

from hypothesis import strategies as st

from mdht.signing import SigningKey
from netserv_discovery.location import Location
from netserv_discovery.record import LIFE_MAX_S, Limits, NodeRecord
from netserv_discovery.versions import Offer

KEY = SigningKey.from_seed(b"1" * 32)
OTHER_KEY = SigningKey.from_seed(b"2" * 32)
UNIX = 1_750_000_000

latitudes = st.floats(-90, 90) | st.sampled_from([-90.0, 90.0, 0.0, -0.0, 89.999999])
longitudes = st.floats(-180, 180) | st.sampled_from([-180.0, 180.0, 179.999999, -0.0])
locations = st.builds(Location, latitudes, longitudes)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,8}([._][A-Za-z0-9-]{1,8}){0,2}", fullmatch=True)
versions = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}", fullmatch=True)
offers = st.builds(Offer, names, versions)
offer_tuples = st.lists(offers, max_size=4, unique_by=lambda each: each.name.lower()).map(tuple)
addresses = st.lists(st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16), max_size=4).map(tuple)
numbers = st.integers(0, 2**32 - 1)
operators = st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=16).filter(str.isprintable)


@st.composite
def records(draw):
    issued = UNIX - draw(st.integers(0, 1_000))
    return NodeRecord(
        public_key=KEY.public_key,
        node_id=draw(st.from_regex(r"[A-Za-z][A-Za-z0-9._-]{0,14}", fullmatch=True)),
        addresses=draw(addresses),
        gist_port=draw(st.integers(0, 65_535)),
        ping_port=draw(st.integers(0, 65_535)),
        blocks=draw(offer_tuples),
        modules=draw(offer_tuples),
        limits=draw(st.builds(Limits, numbers, numbers, numbers)),
        load=draw(st.integers(0, 10)),
        location=draw(st.none() | locations),
        within_km=draw(st.integers(1, 20_016)),
        operator=draw(operators),
        issued=issued,
        expires=issued + draw(st.integers(1_001, LIFE_MAX_S)),
        more=draw(st.none() | st.binary(min_size=32, max_size=32)),
    )
