from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest

from z2z.errors import LocalProtocolError
from z2z.stores import registry
from z2z.stores.kinds import StoreKind
from z2z.stores.registry import DEFAULT_STORE, GROUP, store_kind, store_names


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Distributions of other people: one store is there, two are broken."""
    points = [
        EntryPoint("mine", "z2z.stores.memory:KIND", GROUP),
        EntryPoint("gone", "no_such_package:KIND", GROUP),
        EntryPoint("wrong", "z2z.stores.registry:GROUP", GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == GROUP else [])
    registry._found.cache_clear()
    yield
    registry._found.cache_clear()


def test_the_stores_of_this_distribution_are_installed_with_it_the_default_first() -> None:
    assert store_names()[0] == DEFAULT_STORE
    assert {"kademlia", "mdht", "memory", "opendht", "stream"} <= set(store_names())
    kinds = {name: store_kind(name) for name in store_names()}
    assert all(isinstance(kind, StoreKind) for kind in kinds.values())
    assert [name for name, kind in kinds.items() if kind.keyless] == ["stream"]


@pytest.mark.usefixtures("others")
def test_a_store_of_ones_own_is_an_entry_point() -> None:
    assert store_names() == ("gone", "mine", "wrong")
    assert isinstance(store_kind("mine"), StoreKind)


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("nobody", "there is no store 'nobody'; installed are gone, mine, wrong"),
        ("gone", r"store 'gone' \(no_such_package:KIND\) cannot be loaded: No module named"),
        ("wrong", "store 'wrong': z2z.stores.registry:GROUP is no StoreKind but str"),
    ],
)
def test_what_is_wrong_with_a_store_is_said(name: str, complaint: str) -> None:
    with pytest.raises(LocalProtocolError, match=complaint):
        store_kind(name)
