"""This node's own entries, and where they go on a stack."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from mdht.signing import SigningKey
from netserv.signaling.gist.addresses import PackedAddress, packed
from netserv.signaling.gist.service import LastBy
from netserv.signaling.nslp.handling import Answer
from netserv.signaling.nslp.responses import TEXT_MAX, Response, StackEntry, pushed
from netserv.signaling.nslp.signing import signed_entry

_NO_ADDRESS: Final = bytes(4)


class Entries:
    """Writes the entries of one node.

    Args:
        node_id: what it is called.
        addresses: its addresses, as text; asked anew each time, since they change.
        key: signs the entries; None: they are not signed.
        towards: which of them the route to a host has, if that can be asked.
    """

    def __init__(
        self,
        node_id: str,
        addresses: Callable[[], Sequence[str]],
        key: SigningKey | None,
        towards: Callable[[PackedAddress], PackedAddress | None] | None = None,
    ) -> None:
        self.node_id = node_id
        self._towards = towards
        self._addresses = addresses
        self._key = key

    def push(
        self,
        response: Response,
        answer: Answer,
        *,
        peer: PackedAddress | None,
        distance: int,
        last_by: LastBy | None,
        bytes_max: int,
    ) -> Response:
        """The response with this node's entry on its stack; what was probed is left out before the entry is.

        Args:
            response: as it came from further down.
            answer: what this node says.
            peer: address of the node before this one.
            distance: IP hops to that one.
            last_by: how this node knows that it is the last one, if it is.
            bytes_max: of the text.
        """
        entry = self.entry(answer, response.request, peer=peer, distance=distance, last_by=last_by)
        grown = pushed(response, entry, bytes_max=bytes_max)
        if answer.lines and grown.truncated and not response.truncated:
            text = joined(answer.text, "what was probed finds no room on the stack")
            short = msgspec.structs.replace(answer, lines=(), text=text)
            entry = self.entry(short, response.request, peer=peer, distance=distance, last_by=last_by)
            grown = pushed(response, entry, bytes_max=bytes_max)
        return grown

    def entry(
        self, answer: Answer, request: bytes, *, peer: PackedAddress | None, distance: int, last_by: LastBy | None
    ) -> StackEntry:
        """This node's entry, signed if it signs; the arguments are those of `push`, and the request's id."""
        entry = StackEntry(
            node_id=self.node_id,
            address=self.facing(peer),
            hops=max(distance, 0),
            code=answer.code,
            text=answer.text,
            last_by=last_by,
            lines=answer.lines,
        )
        return entry if self._key is None else signed_entry(entry, request, self._key)

    def facing(self, peer: PackedAddress | None) -> PackedAddress:
        """The address towards the node before this one: as the route says, else most leading bits, else the first."""
        routed = self._towards(peer) if self._towards is not None and peer is not None else None
        if routed is not None:
            return routed
        own = [packed(address) for address in self._addresses()]
        if peer is not None:
            own.sort(key=lambda address: -_common_bits(address, peer))
        return own[0] if own else _NO_ADDRESS


def joined(text: str, more: str) -> str:
    """Two texts as one, as long as an entry's may be."""
    if not text:
        return more[:TEXT_MAX]
    return f"{text[: TEXT_MAX - len(more) - 2]}; {more}"


def _common_bits(one: PackedAddress, other: PackedAddress) -> int:
    if len(one) != len(other):
        return -1
    differing = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    return 8 * len(one) - differing.bit_length()
