"""What an asker says that it knows of the nodes around its target, so that the answer need not tell it their hosts.

An answer names nodes, and with each of them hosts, which the asker mostly knows already. So a request has a mark for
each node near its target of which the asker knows enough hosts: the end of the identifier, a byte of the tag, and the
epoch of what it has. A node that is marked with no older epoch than the answerer's is named without its hosts. All of
it is in the request: no loss makes the two believe different things.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from dhtboot.ids import NodeRef, id_bytes
from mdht.subnet.face_nodes import NodeTable
from mdht.subnet.hostset import RemoteNode

MARKS_MAX: Final = 12
"In one request: half as many again as an answer names."
MARK_BYTES: Final = 6
MARKS_BYTES_MAX: Final = MARKS_MAX * MARK_BYTES
_NAME_BYTES: Final = 4
_ID_BYTES: Final = 3
"Nodes near one target begin alike, so it is the end that tells them apart; one taken for another is left out once."
_HALF_OF_EPOCHS: Final = 1 << 15


def marks_of(nodes: NodeTable, near: Iterable[NodeRef], now: float) -> bytes:
    """The marks of a request: of the first of these nodes of which enough is known."""
    found: list[bytes] = []
    for contact in near:
        node = nodes.get(contact.address)
        if node is not None and node.is_well_known(now):
            found.append(_name(contact.id, node) + (node.told_epoch & 0xFFFF).to_bytes(2, "big"))
            if len(found) == MARKS_MAX:
                break
    return b"".join(found)


def read_marks(marks: bytes) -> Mapping[bytes, int]:
    """Epochs by what stands for the node; whatever is behind the last whole mark is ignored."""
    return {
        marks[at : at + _NAME_BYTES]: int.from_bytes(marks[at + _NAME_BYTES : at + MARK_BYTES], "big")
        for at in range(0, len(marks) - MARK_BYTES + 1, MARK_BYTES)
    }


def is_marked(marks: Mapping[bytes, int], node_id: int, node: RemoteNode) -> bool:
    """Whether the asker has no older hosts of a node than those that are known here."""
    held = marks.get(_name(node_id, node))
    # Of an epoch there are 16 bits: the nearer way around says which one is older.
    return held is not None and (held - node.told_epoch) & 0xFFFF < _HALF_OF_EPOCHS


def _name(node_id: int, node: RemoteNode) -> bytes:
    return id_bytes(node_id)[-_ID_BYTES:] + node.tag[:1]
