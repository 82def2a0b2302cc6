"""One node of a `kademlia` network that merges what it stores: the package's classes, extended.

Everything here runs in the package's own event loop (`kademlia_net` has its thread).
"""

import asyncio
import ipaddress
import socket
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kademlia.crawling import NodeSpiderCrawl
from kademlia.network import Server
from kademlia.node import Node
from kademlia.protocol import KademliaProtocol

from dhtboot.ids import Address
from mdht.records import Record
from z2z.stores.kademlia_pages import Written
from z2z.stores.kademlia_sets import RecordSet, encode, is_set, merge
from z2z.stores.kademlia_storage import SetStorage

ID_BYTES: Final = 20
WAIT_S: Final = 2.0
"For an answer; the package's 5 s, once per round of a search, would outlast the patience of a put."
ROUNDS_MAX: Final = 12
"Of a search: each comes at least a bit nearer in honest networks, and the last one is found after a few."
ALPHA: Final = 10
"Nodes asked side by side in a search: each round with one that is gone among them takes `WAIT_S`, so there are few."
ASKED_MAX: Final = 8
"Nodes that are asked for their set: all of the 20 nearest are stored at, so that some are enough to find the newest."
AT_ONCE_MAX: Final = 4
"Searches and stores side by side: each sends up to 20 datagrams of 8 KB at a time."
NEIGHBOURS_MAX: Final = 64
"Nodes believed of one answer, which honest ones fill with 20."
WELCOMED_MAX: Final = 1_024
SILENT_S: Final = 60.0
"A node that did not answer is left alone for this time: others go on naming it until they find that out themselves."
SILENT_MAX: Final = 1_024
RECEIVE_BUFFER_BYTES: Final = 1 << 20
"The answers to one question to several nodes arrive together."


@dataclass(slots=True)
class _Wish:
    record: Record
    outcome: Written | None = None


@dataclass(slots=True)
class _Desk:
    """Writes of one key: those that come while one is on its way go together in the next."""

    wishes: list[_Wish] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class SetProtocol(KademliaProtocol):  # type: ignore[misc] # the package has no types
    """The protocol of the package, which tells whether it stored and believes no impossible neighbours."""

    def __init__(self, source_node: Node, storage: SetStorage, ksize: int) -> None:
        super().__init__(source_node, storage, ksize)
        self._wait_timeout = WAIT_S
        self._welcomed: OrderedDict[bytes, None] = OrderedDict()
        self._silent_until: OrderedDict[bytes, float] = OrderedDict()
        self._handovers: set[asyncio.Task[None]] = set()

    def rpc_store(self, sender: Address, nodeid: bytes, key: object, value: object) -> bool:
        """Store for another node, and say whether all of it is held."""
        self.welcome_if_new(Node(nodeid, *sender[:2]))
        return bool(self.storage.store(key, value))

    async def call_find_node(self, node_to_ask: Node, node_to_find: Node) -> tuple[bool, Any]:
        """Ask for neighbours; what cannot be one is left out of the answer."""
        happened, found = await super().call_find_node(node_to_ask, node_to_find)
        now = asyncio.get_running_loop().time()
        neighbours = sane_neighbours(found, self.source_node.id)
        return happened, [each for each in neighbours if self._silent_until.get(each[0], 0.0) <= now]

    def handle_call_response(self, result: tuple[bool, Any], node: Node) -> tuple[bool, Any]:
        """Remember who did not answer; the package only takes him out of its table."""
        if not result[0]:
            self._silent_until[node.id] = asyncio.get_running_loop().time() + SILENT_S
            if len(self._silent_until) > SILENT_MAX:
                self._silent_until.popitem(last=False)
        answer: tuple[bool, Any] = super().handle_call_response(result, node)
        return answer

    def welcome_if_new(self, node: Node) -> None:
        """Take a node in, and hand over what it should hold.

        Not as the package does it, which hashes the keys once more than when it stores them, takes this very node for
        a neighbour, and hands over again with every datagram of a node that there is no room for in the table.
        """
        if len(node.id) != ID_BYTES or node.id == self.source_node.id:
            return
        self._silent_until.pop(node.id, None)
        if not self.router.is_new_node(node):
            return
        if node.id not in self._welcomed:
            self._welcomed[node.id] = None
            if len(self._welcomed) > WELCOMED_MAX:
                self._welcomed.popitem(last=False)
            keys = [key for key, _ in self.storage if self._nearest_but_for(node, Node(key))]
            if keys:
                task = asyncio.ensure_future(self._hand_over(node, keys))
                self._handovers.add(task)
                task.add_done_callback(self._handovers.discard)
        self.router.add_contact(node)

    def _nearest_but_for(self, node: Node, key: Node) -> bool:
        """Whether a node should hold a key, and this one has to tell it (section 2.5 of the Kademlia paper)."""
        neighbours = self.router.find_neighbors(key)
        if not neighbours:
            return True
        return bool(
            node.distance_to(key) < neighbours[-1].distance_to(key)
            and self.source_node.distance_to(key) < neighbours[0].distance_to(key)
        )

    async def _hand_over(self, node: Node, keys: Sequence[bytes]) -> None:
        for key in keys:
            value = self.storage.get(key)
            if is_set(value):  # merged with what is there: a plain node would let go of that
                value = encode(self.storage.absorb(key, await self.ask_for_set(node, key)))
            if value is not None and not (await self.call_store(node, key, value))[0]:
                return

    async def ask_for_set(self, node: Node, key: bytes) -> RecordSet:
        """Return the good records that a node has under a key."""
        _happened, answer = await self.call_find_value(node, Node(key))
        value = answer.get("value") if isinstance(answer, dict) else None
        found: RecordSet = self.storage.read(value, key, self.storage.clock())
        return found


class _Search(NodeSpiderCrawl):  # type: ignore[misc] # the package has no types
    """A search for the nearest nodes that ends, whatever the others answer."""

    rounds_left = ROUNDS_MAX

    async def find(self) -> list[Node]:
        """Return the nearest nodes that answered."""
        if self.rounds_left == 0:
            return [node for node in self.nearest if node.id in self.nearest.contacted]
        self.rounds_left -= 1
        found: list[Node] = await super().find()
        return found


class SetServer(Server):  # type: ignore[misc] # the package has no types
    """A node whose keys hold sets of signed records."""

    protocol_class = SetProtocol

    def __init__(self, storage: SetStorage) -> None:
        super().__init__(alpha=ALPHA, storage=storage)
        self._desks: defaultdict[bytes, _Desk] = defaultdict(_Desk)
        self._gate = asyncio.Semaphore(AT_ONCE_MAX)

    async def listen(self, port: int, interface: str = "0.0.0.0") -> None:  # noqa: S104 - a node of the network
        """Open the socket."""
        await super().listen(port, interface)
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)

    @property
    def port(self) -> int:
        """The UDP port in use."""
        return int(self.transport.get_extra_info("sockname")[1])

    @property
    def known(self) -> int:
        """Nodes in the routing table; may be called from another thread."""
        return 0 if self.protocol is None else sum(len(bucket) for bucket in [*self.protocol.router.buckets])

    async def join(self, addresses: Iterable[Address]) -> int:
        """Look for this node's neighbours from these entry points on.

        Returns:
            How many nodes are known now.
        """
        await asyncio.gather(*(self._join_at(address) for address in addresses))
        return self.known

    async def read(self, key: bytes) -> RecordSet:
        """Return the live records under a key, merged from what several nodes hold."""
        async with self._gate:
            return await self._read(key, await self._nearest(key))

    async def write(self, record: Record) -> Written:
        """Merge a record into the set under its key, and store that at the nearest nodes and here."""
        desk, wish = self._desks[record.key], _Wish(record)
        desk.users += 1
        desk.wishes.append(wish)
        try:
            async with desk.lock:
                if wish.outcome is None:
                    wishes, desk.wishes = desk.wishes, []
                    await self._serve(record.key, wishes)
        finally:
            desk.users -= 1
            if desk.users == 0:
                self._desks.pop(record.key, None)
        return wish.outcome or Written(fits=True, refused=("the write before failed",))

    async def set_digest(self, dkey: bytes, value: object) -> bool:
        """Store a value of the network again; the package calls this each hour."""
        if not is_set(value):
            return bool(await super().set_digest(dkey, value))
        await self._serve(dkey, [])
        return True

    async def _serve(self, key: bytes, wishes: Sequence[_Wish]) -> None:
        async with self._gate:
            nodes = await self._nearest(key)
            known = await self._read(key, nodes)  # first, so that what others have written keeps its place
            self.storage.absorb(key, known, always=True)
            held = self.storage.absorb(key, (wish.record for wish in wishes), always=True)
            present = set(held)
            answers: list[tuple[bool, object]] = []
            if held and (not wishes or any(wish.record in present for wish in wishes)):
                value = encode(held)
                answers = await asyncio.gather(*(self.protocol.call_store(node, key, value) for node in nodes))
        stored = 1 + sum(happened and answer is True for happened, answer in answers)
        refused = tuple(
            f"{node}: full, or its clock differs"
            for node, answer in zip(nodes, answers, strict=False)
            if answer == (True, False)
        )
        newest = {record.slot: record.seq for record in held}
        for wish in wishes:
            if wish.record in present:
                wish.outcome = Written(fits=True, stored=stored, refused=refused)
            else:
                wish.outcome = Written(fits=False, newest_seq=newest.get(wish.record.slot, -1))

    async def _read(self, key: bytes, nodes: Sequence[Node]) -> RecordSet:
        found = await asyncio.gather(*(self.protocol.ask_for_set(node, key) for node in nodes[:ASKED_MAX]))
        return merge(self.storage.held(key), *found)

    async def _nearest(self, key: bytes) -> list[Node]:
        target = Node(key)
        known = self.protocol.router.find_neighbors(target)
        if not known:
            return []
        return await _Search(self.protocol, target, known, self.ksize, self.alpha).find()

    async def _join_at(self, address: Address) -> None:
        happened, answer = await self.protocol.ping(address, self.node.id)
        if not happened or not isinstance(answer, bytes) or len(answer) != ID_BYTES or answer == self.node.id:
            return
        node = Node(answer, *address)
        self.protocol.welcome_if_new(node)
        await _Search(self.protocol, self.node, [node], self.ksize, self.alpha).find()


def sane_neighbours(answer: object, own_id: bytes) -> list[tuple[bytes, str, int]]:
    """Return the nodes of an answer that can be nodes: an id, an IPv4 address in digits, and a port.

    A name instead of an address would be looked up by the socket, and hold up everything until DNS answers.
    """
    if not isinstance(answer, list | tuple):
        return []
    neighbours = (_neighbour(each) for each in answer[:NEIGHBOURS_MAX])
    return [each for each in neighbours if each is not None and each[0] != own_id]


def _neighbour(each: object) -> tuple[bytes, str, int] | None:
    if not isinstance(each, list | tuple) or len(each) != 3:
        return None
    node_id, host, port = each
    if not isinstance(node_id, bytes) or len(node_id) != ID_BYTES:
        return None
    if not isinstance(host, str) or not isinstance(port, int) or not 1 <= port <= 65_535:
        return None
    try:
        return node_id, str(ipaddress.IPv4Address(host)), port
    except ValueError:
        return None
