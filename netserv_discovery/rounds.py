"""Which keys a search asks for, and what their answers make certain.

Near a place its own cells of three sizes are asked first, side by side: they tell how many nodes are there. Then the
cells around it of the smallest size that may have enough: what is nearer than these reach for sure is known when all of
them have answered. If that is too little those of the next size follow, and last the whole world.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import msgspec

from netserv_discovery.keys import (
    block_cell_key,
    block_key,
    cell_key,
    module_cell_key,
    module_key,
    node_key,
)
from netserv_discovery.location import CELLS_AROUND, SIZES, cell_of, cells_around
from netserv_discovery.record import NodeRecord
from netserv_discovery.versions import Need
from netserv_discovery.want import Wanted

TASTED: Final = SIZES[:-1]
"Sizes of the cells of which the own one is asked first: the largest cell may have a thousand records."
CROWD: Final = 100
"Records of a larger cell that are not fetched while a smaller one was not tried: they are 50 KB."
CELL_LETTERS: Final = "0123456789bcdefghjkmnpqrstuvwxyz"


class Question(msgspec.Struct, frozen=True):
    """A key that is asked for."""

    key: bytes
    cell: str = ""
    "All records under it are in that cell; empty: they may be anywhere."
    node_id: str | None = None
    block: Need | None = None
    module: Need | None = None

    def belongs(self, record: NodeRecord) -> bool:
        """Whether a record may lie under the key; offers are another matter, since a list may have them."""
        if self.node_id is not None and record.node_id != self.node_id:
            return False
        if not self.cell:
            return True
        return record.location is not None and cell_of(record.location, len(self.cell)) == self.cell


class Group(msgspec.Struct, frozen=True):
    """Questions whose answers together make certain what is near."""

    questions: tuple[Question, ...]
    covered_km: float
    "All that is nearer is among the answers."
    size: int = 0
    "Letters of the cells; 0: it is not about cells around a place."
    own: bytes | None = None
    "Key of the cell that the place is in, if it was asked before."


def groups_of(wanted: Wanted) -> tuple[tuple[Group, ...], ...]:
    """Rounds of groups. Those of a round are asked side by side."""
    if wanted.node_id is not None:
        return ((Group((Question(node_key(wanted.node_id), node_id=wanted.node_id),), math.inf),),)
    if wanted.near is None:
        return ((_world(wanted),),)
    own = tuple(_cells(wanted, size, cells_max=1) for size in TASTED)
    # The largest cells have many records: one is asked first, and then those that are needed.
    largest = _cells(wanted, SIZES[-1], cells_max=1), msgspec.structs.replace(_cells(wanted, SIZES[-1]), own=None)
    return (own, *((_cells(wanted, size),) for size in TASTED), *((each,) for each in largest), (_world(wanted),))


def narrowed(wanted: Wanted, group: Group, reach_km: float) -> Group:
    """A group with no more cells than are needed.

    Args:
        wanted: what is looked for.
        group: cells around the place.
        reach_km: there are enough nodes within that, as far as is known.
    """
    for cells_max in range(1, len(group.questions) if group.size else 0):
        smaller = _cells(wanted, group.size, cells_max)
        if smaller.covered_km >= reach_km:
            return smaller
    return group


def may_have(group: Group, larger: Group, counts: Mapping[bytes, int], needed: int) -> bool:
    """Whether it is worth while to ask a group, by what is known of its middle.

    Args:
        group: cells of one size.
        larger: those of the next size.
        counts: records under the keys that have answered.
        needed: so many are looked for.
    """
    # They are sure to hold what is nearer than half a cell: a circle that is four fifths of one cell.
    there = None if group.own is None else counts.get(group.own)
    if there is None or there >= needed:
        return True
    return larger.own is not None and counts.get(larger.own, 0) > CROWD


def _world(wanted: Wanted) -> Group:
    if wanted.blocks:
        question = Question(block_key(wanted.blocks[0].name), block=wanted.blocks[0])
    elif wanted.modules:
        question = Question(module_key(wanted.modules[0].name), module=wanted.modules[0])
    else:
        # No key has all nodes, for it would be flooded first; the largest cells are 32.
        return Group(tuple(Question(cell_key(letter), letter) for letter in CELL_LETTERS), math.inf)
    return Group((question,), math.inf)


def _cells(wanted: Wanted, size: int, cells_max: int = CELLS_AROUND) -> Group:
    assert wanted.near is not None  # noqa: S101 - the caller has looked
    around = cells_around(wanted.near, size, cells_max)
    key, block, module = _cell_key(wanted)
    questions = tuple(Question(key(cell), cell, block=block, module=module) for cell in around.cells)
    return Group(questions, around.covered_km, size, key(cell_of(wanted.near, size)))


def _cell_key(wanted: Wanted) -> tuple[Callable[[str], bytes], Need | None, Need | None]:
    if wanted.blocks:
        return partial(block_cell_key, wanted.blocks[0].name), wanted.blocks[0], None
    if wanted.modules:
        return partial(module_cell_key, wanted.modules[0].name), None, wanted.modules[0]
    return cell_key, None, None
