"""Questions and notes about records, as the layer above a face gets them."""

from collections.abc import Callable

import msgspec

from dhtboot.ids import NodeRef
from mdht.messages import Note, Question
from mdht.subnet.push import Peer


class AskedBy(msgspec.Struct, frozen=True):
    """Who has asked something about records."""

    node: NodeRef
    peer: Peer
    number: int
    held_open: bool = False
    "What is said to him later only gets through from the host that he has asked, and for a while."


OnQuestion = Callable[[Question, AskedBy, float], None]
"Called with what is asked, whom to answer by `Face.answer`, now or later, and the time."
OnNote = Callable[[Note, Peer, float], None]
"Called with what was told, by whom, and the time."
