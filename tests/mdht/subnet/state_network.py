"""A link in virtual time whose hosts share what they know of an overlay; the network knows what that is really like."""

import math
from collections.abc import Callable, Sequence
from random import Random

from mdht.subnet.identity import named
from mdht.subnet.membership import Membership
from mdht.subnet.messages import Here, HostRef, Message, Neighbour, NodeEntry, NodeState, State
from mdht.subnet.node_state import EntryTold, Maintain, Neighbourhood, NeighboursChanged
from mdht.subnet.rota import Rota
from mdht.subnet.wire import Header
from tests.mdht.subnet.link_network import Host, LinkOf

PERIOD_S = 5.0
ROUND_S = 0.05
RING = b"ringring"
OVERLAY = "test"


def entry_of(number: int, epoch: int = 1) -> NodeEntry:
    host = HostRef(hid=b"host%04d" % number, address=(f"128.59.{number % 250}.1", 4000), age_s=1)
    return NodeEntry(identity=named(f"node {number}"), tag=b"tag%05d" % number, view_epoch=epoch, size=1, hosts=(host,))


def id_of(number: int) -> bytes:
    return entry_of(number).identity.node_id(OVERLAY).to_bytes(20, "big")


def neighbours_of(numbers: Sequence[int]) -> tuple[Neighbour, ...]:
    return tuple([Neighbour(node_id=id_of(one), tag=entry_of(one).tag, view_epoch=1) for one in numbers])


class StateHost(Host):
    """Membership, shared state and a table of the neighbours' entries."""

    def __init__(self, number: int, membership: Membership, *, shared_rota: bool, epoch: int) -> None:
        super().__init__(number, membership)
        self.entries: dict[bytes, NodeEntry] = {}
        rota = Rota(PERIOD_S, shared=shared_rota)
        self.shared = Neighbourhood(membership.hid, rota, lambda node_id, _now: self.entries.get(node_id), epoch=epoch)
        self.later: list[tuple[float, Callable[[float], Sequence[object]]]] = []
        self.rounds: list[float] = []

    def receive(
        self, header: Header, message: Message, source: tuple[str, int], now: float, *, multicast: bool
    ) -> Sequence[object]:
        effects: list[object] = [*self.membership.receive(header, message, source, now, multicast=multicast)]
        if self.membership.view.get(header.hid) is not None:
            match message:
                case NodeState():
                    effects += self.shared.receive(header.hid, message, source, now, multicast=multicast)
                case Here():
                    effects += self.shared.on_here(header.hid, source, message.node_state_hash, now)
                case _:
                    pass
        return self.reported(effects)

    def tick(self, now: float) -> Sequence[object]:
        effects: list[object] = []
        for at, action in [one for one in self.later if one[0] <= now]:
            self.later.remove((at, action))
            effects += action(now)
        effects += self.shared.tick(self.membership.ready_hids(), now)
        return self.reported([*effects, *self.membership.tick(now)])

    def next_deadline(self) -> float:
        later = min([at for at, _ in self.later], default=math.inf)
        mine = self.shared.next_deadline(self.membership.ready_hids())
        return min(later, mine, self.membership.next_deadline())

    def reported(self, effects: Sequence[object]) -> Sequence[object]:
        self.membership.report.node_state_hash = self.shared.hash
        return effects


class StateNetwork(LinkOf[StateHost]):
    """The link. A round of upkeep finds what the overlay is like."""

    def __init__(self, seed: int, *, shared_rota: bool = True) -> None:
        super().__init__(seed)
        self.overlay: tuple[Neighbour, ...] = neighbours_of(range(9))
        self.shared_rota = shared_rota
        self.epochs: dict[int, int] = {}

    def make(self, number: int, membership: Membership) -> StateHost:
        return StateHost(number, membership, shared_rota=self.shared_rota, epoch=self.epochs.get(number, 0))

    def special(self, host: StateHost, effect: object) -> None:
        match effect:
            case Maintain():
                host.rounds.append(self.now)
                host.later.append((self.now + ROUND_S, lambda at: self._end_of_round(host, at)))
            case EntryTold(entry=entry):
                host.entries[entry.identity.node_id(OVERLAY).to_bytes(20, "big")] = entry
            case NeighboursChanged():
                pass
            case _:
                raise AssertionError(effect)

    def _end_of_round(self, host: StateHost, now: float) -> Sequence[object]:
        return host.reported(host.shared.maintained(RING, self.overlay, None, now))

    def ready(self, count: int) -> list[StateHost]:
        hosts = self.started(count)
        for host in hosts:
            host.shared.rota.start(self.now)
            self.perform(host, [])
        return hosts

    def newcomer(self) -> StateHost:
        host = self.add()
        self.run(2.0)
        self.perform(host, host.membership.become(State.READY, self.now))
        host.shared.rota.start(self.now)
        return host

    def change(self, host: StateHost, numbers: Sequence[int], changed: NodeEntry | None = None) -> None:
        effects = host.shared.change(RING, neighbours_of(numbers), changed)
        self.perform(host, host.reported(effects))

    def states(self) -> set[tuple[int, bytes, tuple[Neighbour, ...]]]:
        return {
            (host.shared.state.epoch, host.shared.state.author, host.shared.state.neighbours)
            for host in self.hosts
            if host.alive
        }


def some_numbers(rng: Random) -> list[int]:
    return rng.sample(range(50), rng.randint(0, 9))
