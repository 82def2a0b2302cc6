from types import SimpleNamespace
from typing import Any

import pytest

from dhtboot.ids import Address
from mdht.outside_words import role_of, why
from mdht.subnet.reachability import Verdict

SEEN, NAMED = ("11.0.0.9", 40000), ("11.0.0.9", 27183)


def part(
    verdict: Verdict = Verdict.UNREACHED,
    *,
    client: bool = True,
    unlisted: bool = True,
    named: Address | None = None,
    seen: Address | None = SEEN,
    own: Address = ("192.168.1.7", 27183),
) -> Any:
    """What the words are made from."""
    at = named or seen
    reach = SimpleNamespace(verdict=verdict, named=named, seen=seen, translated=at is not None and at != own)
    step, outside = SimpleNamespace(client=client), SimpleNamespace(unlisted=unlisted)
    return SimpleNamespace(step=step, outside=outside, face=SimpleNamespace(reach=reach))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, ()),
        (part(Verdict.REACHED, client=False, unlisted=False), ()),
        (part(), ("at 11.0.0.9:40000", "forward UDP port 27183", "--public 11.0.0.9:27183", "--map-port")),
        (part(named=NAMED), ("send to 11.0.0.9:27183", "forward UDP port 27183")),
        (part(named=("11.0.0.8", 5)), ("at 11.0.0.9:40000", "--public 11.0.0.8:5 must have that address")),
        (part(seen=("11.0.0.7", 27183), own=("11.0.0.7", 27183)), ("UDP port 27183 through the firewall",)),
        (part(client=False), ("only other hosts of this subnet are reached", "--public")),
        (part(Verdict.UNKNOWN), ("reach no host of this one",)),
    ],
)
def test_the_words_name_cause_and_remedy(found: Any, words: tuple[str, ...]) -> None:
    said = why(found, 27183)
    assert bool(said) == bool(words)
    assert all(word in said for word in words), said
    assert "--public" not in said or "--public" in " ".join(words)


def test_where_the_router_is_asked_the_user_is_not_told_to_forward_anything() -> None:
    lacking = why(part(), 27183, asks_router=True)
    assert "at 11.0.0.9:40000, where only answers get through" in lacking
    assert "--public" not in lacking
    mapped = why(part(named=NAMED), 27183, asks_router=True)
    assert "send to 11.0.0.9:27183, though the router forwards it; others see this host at 11.0.0.9:40000" in mapped
    assert "firewall" in mapped


def test_a_subnet_is_a_node_unless_it_is_a_client() -> None:
    assert [role_of(None), role_of(part(client=False)), role_of(part())] == ["node", "node", "client"]
