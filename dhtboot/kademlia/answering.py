"""What a node answers to a request, by what the asker has shown about its address."""

from typing import Any, Final, Protocol

from dhtboot.compact import pack_address
from dhtboot.ids import NodeRef, id_from
from dhtboot.kademlia.caller import Caller
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.kademlia.messages import Ask, Challenge, FindNode, Nodes, Ping, Pong, Reply

UNVERIFIED_NODES: Final = 1
"Contacts in a reply to an unverified address: below three times the shortest request, also with IPv6."


class Application(Protocol):
    """What the layer above answers and wants to know."""

    def on_question(self, question: Any, sender: NodeRef, *, with_nodes: bool, now: float) -> Any:
        """Answer a question; `with_nodes` says that the answer shares its datagram with contacts."""

    def on_note(self, note: Any, sender: NodeRef, now: float) -> None:
        """Take in a note."""

    def on_contact(self, node: NodeRef, now: float) -> None:
        """A live node has entered the table or the siblings."""

    def on_contact_lost(self, node: NodeRef, now: float) -> None:
        """A known node counts as dead."""


def answer(
    request: FindNode[Any] | Ask[Any] | Ping,
    sender: NodeRef,
    node: Caller,
    application: Application | None,
    *,
    config: KademliaConfig,
    cookie: bytes,
    now: float,
) -> Nodes[Any] | Reply[Any] | Pong | Challenge | None:
    """The response to a request, None for a question that nobody here can answer.

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
                reply = application.on_question(question, sender, with_nodes=True, now=now)
            return Nodes(nodes, reply, cookie)
        case Ask() if cookie:
            return Challenge(cookie)
        case Ask(question=question):
            if application is None:
                return None
            return Reply(application.on_question(question, sender, with_nodes=False, now=now))
        case Ping():
            return Pong(pack_address(sender.address), cookie)
