import hashlib
from collections import Counter
from random import Random

import msgspec
import pytest

from dhtboot.ids import Address, id_bytes, random_id
from mdht.subnet.hostset_handout import Own, asker_name, set_for, wants_set
from mdht.subnet.identity import named
from mdht.subnet.messages import NodeEntry, Standing, State
from mdht.subnet.view import Member, View

NOW = 1000.0
ME = b"host0000"


def own(addresses: tuple[Address, ...] = (("128.59.0.1", 4000),), *, ready: bool = True) -> Own:
    return Own(identity=named("lab"), tag=b"tagtagta", hid=ME, addresses=addresses, ready=ready)


def member(number: int, state: State = State.READY, addresses: tuple[Address, ...] | None = None) -> Member:
    found = ((f"128.59.1.{number}", 4000),) if addresses is None else addresses
    return Member(b"host%04d" % number, 1, found, state, NOW - 1.5)


def view_of(*members: Member) -> View:
    view = View()
    for one in members:
        view.add(one)
    return view


def hids(entry: NodeEntry) -> set[bytes]:
    return {host.hid for host in entry.hosts}


def test_a_host_that_others_do_not_reach_is_not_told_and_one_behind_a_router_at_its_forwarded_port() -> None:
    hidden, forwarded = member(1), member(2, addresses=(("192.168.1.2", 4000),))
    hidden.unlisted = True
    forwarded.mapped = ("128.59.9.9", 4002)
    view = view_of(hidden, forwarded, member(3))
    entry = told(b"asker", view)
    assert {host.hid: host.address for host in entry.hosts} == {
        ME: ("128.59.0.1", 4000),
        b"host0002": ("128.59.9.9", 4002),
        b"host0003": ("128.59.1.3", 4000),
    }
    assert entry.size == 4
    for mine, expected in (
        ({"unlisted": True}, None),
        ({"mapped": ("128.59.9.9", 4001)}, ("128.59.9.9", 4001)),
    ):
        changed = msgspec.structs.replace(own((("192.168.1.1", 4000),)), **mine)
        found = {host.hid: host.address for host in set_for(b"", changed, view, NOW, allow_private=False).hosts}
        assert found.get(ME) == expected


HOME, FAR = ("192.168.1.1", 4000), ("128.59.0.1", 4000)


@pytest.mark.parametrize(
    ("addresses", "known", "private", "standing"),
    [
        ((FAR,), {}, False, None),
        ((HOME, FAR), {}, False, None),
        ((HOME,), {}, False, Standing.UNLISTED),
        ((HOME,), {}, True, None),
        ((FAR,), {"direct": False}, False, Standing.UNLISTED),
        ((FAR,), {"unlisted": True}, True, Standing.UNLISTED),
        ((HOME,), {"mapped": ("128.59.9.9", 1), "direct": False}, False, Standing.UNLISTED),
        ((FAR,), {"client": True}, False, Standing.CLIENT),
    ],
)
def test_who_is_not_seen_and_reached_at_an_address_of_its_own_is_not_to_be_listed_there(
    addresses: tuple[Address, ...], known: dict[str, object], private: bool, standing: Standing | None
) -> None:
    assert msgspec.structs.replace(own(addresses), **known).standing(allow_private=private) is standing


def told(asker: bytes, view: View, *, ready: bool = True) -> NodeEntry:
    return set_for(asker, own(ready=ready), view, NOW, allow_private=False)


def test_an_asker_is_told_the_eight_of_highest_weight_for_it() -> None:
    view = view_of(*[member(number) for number in range(1, 30)])
    asker = asker_name(77, b"askerask")

    def weight(hid: bytes) -> int:
        return int.from_bytes(hashlib.sha1(id_bytes(77) + b"askerask" + hid).digest(), "big")

    names = sorted([ME, *view.ready], key=weight, reverse=True)
    entry = told(asker, view)
    assert [host.hid for host in entry.hosts] == names[:8]
    assert (entry.view_epoch, entry.size) == (view.epoch, 30)


def test_only_who_is_ready_is_told_all_who_live_are_counted() -> None:
    others = [state for state in State if state is not State.READY]
    view = view_of(member(1), *[member(number, state) for number, state in enumerate(others, start=2)])
    entry = told(b"asker", view)
    assert hids(entry) == {ME, b"host0001"}
    assert entry.size == 5, "this one, the ready one, and those that join, leave, or are suspected"
    assert hids(told(b"asker", view, ready=False)) == {b"host0001"}


def test_ages_are_those_at_which_they_were_heard_rounded_up() -> None:
    ages = {host.hid: host.age_s for host in told(b"asker", view_of(member(1))).hosts}
    assert ages == {ME: 0, b"host0001": 2}


def test_private_addresses_are_not_told_and_take_nobodys_place() -> None:
    private = ("192.168.1.7", 4000)
    hidden = [member(number, addresses=(private,)) for number in range(1, 20)]
    mixed = member(20, addresses=(private, ("128.59.1.20", 4000)))
    view = view_of(*hidden, mixed, *[member(number) for number in range(21, 28)])
    entry = set_for(b"asker", own((private,)), view, NOW, allow_private=False)
    assert {host.hid for host in entry.hosts} == {b"host%04d" % number for number in range(20, 28)}
    assert all(host.address[0].startswith("128.59.") for host in entry.hosts)
    laboratory = set_for(b"asker", own((private,)), view, NOW, allow_private=True)
    assert any(host.address == private for host in laboratory.hosts)


def test_sets_spread_evenly_over_the_hosts() -> None:
    view = view_of(*[member(number) for number in range(1, 32)])
    rng = Random(1)
    askers = 1000
    counts = Counter(
        hid for _ in range(askers) for hid in hids(told(asker_name(random_id(rng), rng.randbytes(8)), view))
    )
    share = 8 / 32
    deviation = (askers * share * (1 - share)) ** 0.5
    assert len(counts) == 32
    assert all(abs(count - askers * share) < 4 * deviation for count in counts.values())


@pytest.mark.parametrize("hosts", [3, 8, 9, 40])
def test_a_host_that_comes_or_goes_changes_at_most_one_of_eight(hosts: int) -> None:
    rng = Random(hosts)
    without = view_of(*[member(number) for number in range(1, hosts)])
    view = view_of(*[member(number) for number in range(1, hosts + 1)])
    changed = 0
    for _ in range(200):
        asker = asker_name(random_id(rng), rng.randbytes(8))
        before, after = hids(told(asker, without)), hids(told(asker, view))
        assert len(after - before) <= 1
        assert len(before - after) <= 1
        assert after - before <= {b"host%04d" % hosts}
        changed += before != after
    share = min(1.0, 8 / (hosts + 1))
    assert abs(changed - 200 * share) <= 4 * (200 * share * (1 - share)) ** 0.5


@pytest.mark.parametrize(
    ("held", "epoch", "fresh"), [(None, 0, True), (None, 7, True), (6, 7, True), (7, 7, False), (8, 7, False)]
)
def test_a_reply_takes_a_set_along_only_when_it_is_newer(held: int | None, epoch: int, *, fresh: bool) -> None:
    assert wants_set(held, epoch) == fresh
