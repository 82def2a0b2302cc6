"""What a node answers to a request, by what the asker has shown about its address."""

from typing import Any, Final, Protocol

from dhtboot.compact import pack_address
from dhtboot.ids import NodeRef, id_from
from dhtboot.kademlia.caller import Caller
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.kademlia.messages import FindNode, Nodes, Ping, Pong

UNVERIFIED_NODES: Final = 1
"Contacts in a reply to an unverified address: below three times the shortest request, also with IPv6."


class Application(Protocol):
    """What the layer above answers and wants to know."""

    def on_question(self, question: Any, now: float) -> Any:
        """Answer a question; the answer shares its datagram with contacts."""

    def on_note(self, note: Any, sender: NodeRef, now: float) -> None:
        """Take in a note."""


def answer(
    request: FindNode[Any] | Ping,
    sender: NodeRef,
    node: Caller,
    application: Application | None,
    *,
    config: KademliaConfig,
    cookie: bytes,
    now: float,
) -> Nodes[Any] | Pong:
    """The response to a request.

    Args:
        request: what was asked.
        sender: the asker; identifier 0 for one that is no node.
        node: who answers.
        application: answers the questions of the layer above.
        config: settings.
        cookie: for an asker whose address is not verified, else empty; such a one gets no more bytes than it is safe
            to send to somebody who may not have asked.
        now: the time.
    """
    match request:
        case FindNode(target=target, question=question):
            count = UNVERIFIED_NODES if cookie else config.reply_nodes
            nodes = tuple(node.closest(id_from(target), count, sender.id))
            reply = None
            if not cookie and question is not None and application is not None:
                reply = application.on_question(question, now)
            return Nodes(nodes, reply, cookie)
        case Ping():
            return Pong(pack_address(sender.address), cookie)
