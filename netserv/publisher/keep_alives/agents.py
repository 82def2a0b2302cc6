"""Which user agents the module is deployed towards, and when that ends. No I/O; one machine for each address.

A keep-alive that reaches the server says that no module stands on the path of its user agent: so the module is deployed
towards it. From then on nothing is seen of it here, and of others behind the same nodes neither; that they are still
there is told by the nodes, whose count of answers grows. When it does not any more, the module is taken away. Should
that have been wrong, the next keep-alive reaches the server, and all begins anew.
"""

from collections import Counter
from collections.abc import Mapping
from enum import Enum
from typing import Final, TypeAlias

import msgspec

from netserv.errors import LocalProtocolError

SETTLE_S: Final = 1.0
"After an installation: keep-alives that were on their way still reach the server."
RETRY_S: Final = 300.0
"After a deployment that no node took: so long its keep-alives come to the server as ever."
IDLE_MIN_S: Final = 5.0
AGENTS_MOST: Final = 10_000
"What may be asked for: each has a task and routing state, some 20 kB. It is one for each edge of the network."
LOOKS: Final = 3
"Within the time after which an agent counts as gone, and within a time to live: two may get lost."


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a watcher."""

    agents_max: int = 1_000
    "Of which something is kept; beyond it the server answers keep-alives itself."
    idle_s: float = 180.0
    "Without an answered keep-alive until the module is removed; most devices send one each 15 to 30 s."
    ttl_s: int = 600
    "A watcher that vanishes leaves its modules behind for so long."
    per_second: float = 10.0
    "New deployments: an attacker can invent sources, and each costs signalling along a path."
    burst: int = 50

    def __post_init__(self) -> None:
        if not 1 <= self.agents_max <= AGENTS_MOST:
            raise LocalProtocolError(f"1 to {AGENTS_MOST} user agents are possible, not {self.agents_max}")
        if self.idle_s < IDLE_MIN_S or self.ttl_s < 1:
            raise LocalProtocolError(f"idle: {IDLE_MIN_S:g} s at least, as what nodes tell is up to two seconds old")

    @property
    def look_s(self) -> float:
        """Between two looks at an agent."""
        return min(self.idle_s, self.ttl_s) / LOOKS


class State(Enum):
    """How things stand with one user agent."""

    DEPLOYING = "deploying"
    "SETUP is on its way, or nodes are at it."
    THERE = "there"
    "The module answers for the server."
    REMOVING = "removing"
    VAIN = "vain"
    "Nobody took it; not tried again for a while."
    GONE = "gone"


class Input(Enum):
    """What may happen to one."""

    INSTALLED = "installed"
    FAILED = "failed"
    "Nobody is on the path, nobody took it, or nobody has it any more."
    IDLE = "idle"
    REMOVED = "removed"
    AGAIN = "again"
    "A keep-alive has come, and it is time to try again."
    FORGOTTEN = "forgotten"


TRANSITIONS: Final[Mapping[tuple[State, Input], State]] = {
    (State.DEPLOYING, Input.INSTALLED): State.THERE,
    (State.DEPLOYING, Input.FAILED): State.VAIN,
    (State.THERE, Input.INSTALLED): State.THERE,
    (State.THERE, Input.FAILED): State.VAIN,
    (State.THERE, Input.IDLE): State.REMOVING,
    (State.REMOVING, Input.REMOVED): State.GONE,
    (State.REMOVING, Input.FAILED): State.GONE,
    (State.VAIN, Input.AGAIN): State.DEPLOYING,
    (State.VAIN, Input.FORGOTTEN): State.GONE,
}


class Deploy(msgspec.Struct, frozen=True):
    """Deploy towards an agent that is new."""

    address: str


class Look(msgspec.Struct, frozen=True):
    """Refresh the module on its path, and ask how many keep-alives the nodes have answered."""

    address: str


class Remove(msgspec.Struct, frozen=True):
    """Take the module away from these nodes of its path, which no other agent needs."""

    address: str
    nodes: tuple[str, ...]


Effect: TypeAlias = Deploy | Look | Remove


class _Agent:
    def __init__(self, now: float) -> None:
        self.state = State.DEPLOYING
        self.since = now
        "Of this state."
        self.busy_at = now
        "When it was known to be there last."
        self.look_at = now
        self.nodes: Mapping[str, int] = {}
        "Those that run the module for it, with what they had answered."

    def happened(self, what: Input, now: float) -> None:
        self.state = TRANSITIONS[self.state, what]
        self.since = now


class Agents:
    """All user agents of one server.

    Args:
        config: limits.
        now: in seconds, of any origin.
    """

    def __init__(self, config: Config, now: float) -> None:
        self._config = config
        self._agents: dict[str, _Agent] = {}
        self._tokens, self._filled_at = float(config.burst), now
        self._uses: Counter[str] = Counter()
        "By node: agents that it answers for."
        self.counters: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._agents)

    def states(self) -> dict[str, State]:
        """How things stand with each."""
        return {address: agent.state for address, agent in self._agents.items()}

    def seen(self, address: str, now: float) -> list[Effect]:
        """A keep-alive of this agent has reached the server."""
        agent = self._agents.get(address)
        if agent is None:
            if not self._may_begin(now):
                return []
            self._agents[address] = _Agent(now)
            return [Deploy(address)]
        agent.busy_at = now
        if agent.state is State.VAIN and now >= agent.since + RETRY_S and self._token(now):
            agent.happened(Input.AGAIN, now)
            return [Deploy(address)]
        if agent.state is State.THERE and now >= agent.since + SETTLE_S and agent.look_at > now + SETTLE_S:
            # It should not have come: the path is another one now, or a node has lost its module.
            self.counters["missed"] += 1
            agent.look_at = now
            return self._look(address, agent, now)
        return []

    def looked(self, address: str, nodes: Mapping[str, int], now: float) -> list[Effect]:
        """The module has been deployed, refreshed, or looked at.

        Args:
            address: of the agent.
            nodes: those on its path that run the module, each with the packets that it has answered; none: it failed.
            now: the time.
        """
        agent = self._agents.get(address)
        if agent is None or agent.state not in {State.DEPLOYING, State.THERE}:
            return []
        if not nodes:
            return self.failed(address, now)
        if agent.state is State.DEPLOYING or nodes.keys() != agent.nodes.keys():
            agent.busy_at = now
            agent.happened(Input.INSTALLED, now)
            self._give(agent, nodes)
        elif any(answered != agent.nodes[name] for name, answered in nodes.items() if self._tells(agent, name)):
            agent.busy_at = now
        agent.nodes = nodes
        agent.look_at = now + self._config.look_s
        if now < agent.busy_at + self._config.idle_s:
            return []
        agent.happened(Input.IDLE, now)
        only = tuple(name for name in nodes if self._uses[name] == 1)
        self._give(agent, {})
        return [Remove(address, only)]

    def failed(self, address: str, now: float) -> list[Effect]:
        """It could not be deployed or removed; the time to live ends what is left of it."""
        agent = self._agents.get(address)
        if agent is not None and (agent.state, Input.FAILED) in TRANSITIONS:
            agent.happened(Input.FAILED, now)
            self._give(agent, {})
            self.counters["failed"] += 1
            self._forget_gone(address, agent)
        return []

    def removed(self, address: str, now: float) -> list[Effect]:
        """The module has been taken away."""
        agent = self._agents.get(address)
        if agent is not None and agent.state is State.REMOVING:
            agent.happened(Input.REMOVED, now)
            self._forget_gone(address, agent)
        return []

    def tick(self, now: float) -> list[Effect]:
        """Do what it is time for."""
        effects: list[Effect] = []
        for address, agent in list(self._agents.items()):
            if agent.state is State.THERE and now >= agent.look_at:
                effects += self._look(address, agent, now)
            elif agent.state is State.VAIN and now >= agent.since + 2 * RETRY_S:
                agent.happened(Input.FORGOTTEN, now)
                self._forget_gone(address, agent)
        return effects

    def _look(self, address: str, agent: _Agent, now: float) -> list[Effect]:
        # Until the answer is there no other one; should it not come, the next is due then.
        agent.look_at = now + self._config.look_s
        return [Look(address)]

    def _tells(self, agent: _Agent, name: str) -> bool:
        """Whether the count of a node says something of this agent: those near the server answer for others, too."""
        return self._uses[name] == 1 or all(self._uses[each] > 1 for each in agent.nodes)

    def _give(self, agent: _Agent, nodes: Mapping[str, int]) -> None:
        """Note that these nodes answer for an agent, and no others."""
        self._uses.subtract(agent.nodes.keys())
        self._uses.update(nodes.keys())
        for name in [name for name in agent.nodes if not self._uses[name]]:
            del self._uses[name]
        agent.nodes = dict(nodes)

    def _may_begin(self, now: float) -> bool:
        if len(self._agents) >= self._config.agents_max:
            vain = next((address for address, agent in self._agents.items() if agent.state is State.VAIN), None)
            if vain is None:
                self.counters["refused"] += 1
                return False
            del self._agents[vain]
        return self._token(now)

    def _token(self, now: float) -> bool:
        filled = self._tokens + (now - self._filled_at) * self._config.per_second
        self._tokens, self._filled_at = min(float(self._config.burst), filled), now
        if self._tokens < 1.0:
            self.counters["refused"] += 1
            return False
        self._tokens -= 1.0
        return True

    def _forget_gone(self, address: str, agent: _Agent) -> None:
        if agent.state is State.GONE:
            del self._agents[address]
