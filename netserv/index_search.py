"""Looks for modules that others need: in the index, by the node of the DHT by which this node is advertised."""

import logging
from collections.abc import Callable

import trio

from netserv.controller.effects import Locate, Located
from netserv.controller.policy import DependencyRules
from netserv.controller.turns import Turns
from netserv.errors import UnreachableError
from netserv.signaling.nslp.values import Dependency, ModuleRef
from netserv_discovery.advertiser import Running
from netserv_discovery.counters import counted
from netserv_discovery.errors import DiscoveryError
from netserv_discovery.index import Choice
from netserv_discovery.locating import locate
from netserv_discovery.versions import Need, VersionRange

log = logging.getLogger(__name__)


class IndexSearch:
    """The `Locator` of a controller's performer.

    Args:
        rules: of the operator, as they are now.
    """

    def __init__(self, rules: Callable[[], DependencyRules]) -> None:
        self._rules = rules
        self._turns = Turns(rules().searches_max, 1)
        self._opened = trio.Event()
        self._running: Running | None = None

    def use(self, running: Running | None) -> None:
        """Search by this from now on; None: there is no node of the DHT."""
        self._running = running
        self._opened.set()

    async def locate(self, effect: Locate) -> Located:
        """See `performing.Locator`; waits until the DHT is joined."""
        async with self._turns.turn(effect.user):
            await self._opened.wait()
            running = self._running
            if running is None or not running.in_dht:
                raise UnreachableError("the node is in no DHT: dependencies.fetch counts from its next start")
            await running.joined.wait()
            if running.dht is None:
                raise UnreachableError("the DHT is not joined")
            rules = self._rules()
            believed = {key: name for name, keys in rules.publishers.items() for key in keys}
            try:
                choice = await locate(running.dht, need_of(effect.dependency), believed)
            except DiscoveryError as error:
                raise UnreachableError(str(error)) from error
        found = chosen(choice, rules)
        log.info("%s, which a module of %s needs: %s", effect.dependency, effect.user, found.module)
        return found


def need_of(dependency: Dependency) -> Need:
    """A dependency as discovery has it."""
    least = dependency.least_version
    return Need(dependency.name, VersionRange() if least is None else VersionRange(((">=", least),)))


def chosen(choice: Choice, rules: DependencyRules) -> Located:
    """What is taken of all that was found.

    Raises:
        UnreachableError: nothing.
    """
    record = choice.best
    if record is None:
        refused = counted(choice.refused)
        left_out = f"; left out: {refused}" if refused else ""
        raise UnreachableError(f"the index has no bundle of it by {', '.join(rules.publishers)}{left_out}")
    return Located(
        module=ModuleRef(record.module.name, record.module.version),
        publisher=record.publisher,
        digest=record.digest,
        size=record.size,
        urls=record.urls,
    )
