"""The stores by name: entry points of the group `z2z.stores`, in whatever distribution they are.

A store of one's own is four methods (`stores/base.py`), a `StoreKind` (`stores/kinds.py`), and in its `pyproject.toml`

    [project.entry-points."z2z.stores"]
    mine = "my_package:KIND"
"""

import functools
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from z2z.errors import LocalProtocolError
from z2z.stores.kinds import StoreKind

GROUP: Final = "z2z.stores"
DEFAULT_STORE: Final = "mdht"


@functools.cache
def _found() -> dict[str, EntryPoint]:
    found = sorted(entry_points(group=GROUP), key=lambda each: (each.name != DEFAULT_STORE, each.name))
    return {each.name: each for each in found}


def store_names() -> tuple[str, ...]:
    """All that are installed, the default one first."""
    return tuple(_found())


def store_kind(name: str) -> StoreKind:
    """The kind of a store, whose code is loaded now.

    Raises:
        LocalProtocolError: there is none of that name, or what its entry point names is none.
    """
    point = _found().get(name)
    if point is None:
        raise LocalProtocolError(f"there is no store {name!r}; installed are {', '.join(store_names())}")
    try:
        kind = point.load()
    except Exception as error:
        raise LocalProtocolError(f"store {name!r} ({point.value}) cannot be loaded: {error}") from error
    if not isinstance(kind, StoreKind):
        raise LocalProtocolError(f"store {name!r}: {point.value} is no StoreKind but {type(kind).__name__}")
    return kind
