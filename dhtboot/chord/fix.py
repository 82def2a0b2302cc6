"""FIXFINGERS: ask each finger whether it is still responsible, and look it up anew if not."""

from typing import Any

from dhtboot.chord.messages import FindSuccessor, Step, Successors
from dhtboot.chord.router import Router
from dhtboot.ids import NodeRef, id_bytes
from dhtboot.rpc import Asker


class FingerCheck(Asker):
    """Waits for the answer of one finger.

    Args:
        node: whose finger it is.
        index: which one.
    """

    __slots__ = ("_index", "_node")

    def __init__(self, node: Router, index: int) -> None:
        self._node = node
        self._index = index

    def on_reply(self, node: NodeRef, message: Any, now: float) -> None:  # noqa: ARG002 - its answer says it all
        """It is still the right one, or somebody has come in before it."""
        if type(message) is not Successors or message.step is not Step.MINE:
            self._node.look_up_finger(self._index, now)

    def on_fail(self, node: NodeRef, now: float) -> None:  # noqa: ARG002 - the node has dropped it already
        """It is dead."""
        self._node.look_up_finger(self._index, now)


def fix_fingers(node: Router, successor: NodeRef, now: float, *, check: bool) -> None:
    """Make all fingers right; with `check`, those that are there are asked first."""
    node.fingers.trim(successor)
    for index in node.fingers.wanted(successor):
        _fix_finger(node, index, now, check=check)


def _fix_finger(node: Router, index: int, now: float, *, check: bool) -> None:
    finger = node.fingers.get(index) if check else None
    if finger is None:
        node.look_up_finger(index, now)
    else:
        request = FindSuccessor(id_bytes(node.fingers.start(index)))
        node.call(finger, request, now, FingerCheck(node, index))
