"""Requests of every kind, for property tests."""

import string
from ipaddress import ip_network

from hypothesis import strategies as st

from mdht.signing import SigningKey
from netserv.signaling.nslp.headers import RULES
from netserv.signaling.nslp.requests import Probe, Remove, Request, Setup, Trigger
from netserv.signaling.nslp.signing import signed
from netserv.signaling.nslp.values import PROTOCOLS, Dependency, Flow, ModuleRef

KEY = SigningKey.from_seed(bytes(32))
LETTERS = string.ascii_letters + string.digits
PRINTABLE = st.characters(exclude_categories=["Cc", "Cs"])

names = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,9}([._][A-Za-z0-9-]{1,9}){0,3}", fullmatch=True)
versions = st.lists(st.integers(0, 999), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
modules = st.builds(ModuleRef, names, versions)
words = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@+:-]{0,20}", fullmatch=True)
dependencies = st.lists(st.builds(Dependency, names, st.none() | versions), max_size=5, unique_by=str).map(tuple)
urls = st.builds(
    lambda scheme, host, path: f"{scheme}://{host}/{path}",
    st.sampled_from(["http", "https"]),
    st.from_regex(r"[a-z][a-z0-9]{0,9}(\.[a-z]{1,5}){0,2}(:[1-9][0-9]{0,3})?", fullmatch=True),
    st.text(LETTERS + "/._-%?=&,", max_size=20),
)
flows = st.one_of(
    *(st.builds(Flow, st.binary(min_size=n, max_size=n), st.binary(min_size=n, max_size=n)) for n in (4, 16))
)
properties = st.dictionaries(
    st.text(LETTERS + "_.-", min_size=1, max_size=8),
    st.text(PRINTABLE, max_size=8).map(lambda text: text.replace(",", ";").strip(" ")),
    max_size=4,
).map(lambda table: tuple(table.items()))
texts = st.text(PRINTABLE, max_size=20).map(lambda text: text.strip(" "))
unknown = st.dictionaries(
    st.from_regex(r"x-[a-z0-9-]{0,10}", fullmatch=True).filter(lambda name: name not in RULES), texts, max_size=3
).map(lambda table: tuple(table.items()))

_common = {
    "node_id": st.none() | words,
    "long_session": st.booleans(),
    "nonce": st.none() | st.binary(min_size=16, max_size=16),
    "expires": st.none() | st.integers(0, 10**12 - 1),
    "flow": st.none() | flows,
    "others": unknown,
}
_filters = st.one_of(
    st.just({"filter_ports": (), "filter_proto": None, "filter_dst": None}),
    st.fixed_dictionaries(
        {
            "filter_ports": st.lists(st.integers(1, 65_535), min_size=1, max_size=4, unique=True).map(tuple),
            "filter_proto": st.sampled_from(PROTOCOLS),
            "filter_dst": st.none() | st.ip_addresses().map(ip_network),
        }
    ),
)


setups = st.builds(
    lambda filters, **fields: Setup(**filters, **fields),
    _filters,
    target=modules,
    ttl_s=st.integers(1, 10**12 - 1),
    url=urls,
    digest=st.binary(min_size=32, max_size=32),
    user=words,
    dependencies=dependencies,
    notification=st.none() | urls,
    properties=properties,
    password=st.none() | texts.filter(bool),
    **_common,
)
items = st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True)
removes = st.builds(Remove, target=modules, user=words, notification=st.none() | urls, **_common)
probes = st.builds(
    Probe,
    target=st.none() | modules,
    items=st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True), min_size=1, max_size=7, unique=True).map(
        tuple
    ),
    user=words,
    **_common,
)
plain = setups | removes | probes


def sign(request: Request) -> Request:
    return signed(request, KEY)


triggers = (
    (setups | probes)
    .map(sign)
    .flatmap(
        lambda inner: st.builds(
            Trigger,
            target=st.sampled_from([None, inner.target]),
            inner=st.just(inner),
            user=words,
            node_id=st.none() | words,
            others=unknown,
        )
    )
)
requests = (plain | triggers).map(sign)
