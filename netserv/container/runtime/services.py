"""The service registry: what modules of one publisher offer each other (OSGi)."""

import threading
from collections.abc import Sequence
from typing import Any, Final

from netserv.container.runtime.service_filter import Properties, read_filter
from netserv.errors import LocalProtocolError

OFFERS_MAX: Final = 64
"Of one module: as many names as two manifests could export."
RANK: Final = "rank"


class Offer:
    """A service that is registered."""

    __slots__ = ("_registry", "exported", "module", "name", "number", "properties", "service")

    def __init__(
        self, registry: "Registry", module: int, name: str, service: object, properties: Properties, *, exported: bool
    ) -> None:
        self._registry = registry
        self.module, self.name, self.service = module, name, service
        self.properties, self.exported = dict(properties), exported
        self.number = 0

    def withdraw(self) -> None:
        """Take it back; more than once does no harm."""
        self._registry.remove(self)

    def order(self) -> tuple[float, int]:
        """The best one first, the oldest of equal ones."""
        rank = self.properties.get(RANK, 0)
        return -rank if isinstance(rank, int | float) else 0, self.number


class Registry:
    """All services of a container. From any thread."""

    def __init__(self) -> None:
        self._by_name: dict[str, list[Offer]] = {}
        self._lock = threading.Lock()
        self._number = 0

    def add(self, offer: Offer) -> None:
        """Offer a service.

        Raises:
            LocalProtocolError: too many of this module.
        """
        with self._lock:
            count = sum(one.module == offer.module for offers in self._by_name.values() for one in offers)
            if count >= OFFERS_MAX:
                raise LocalProtocolError(f"a module offers at most {OFFERS_MAX} services; withdraw some")
            self._number += 1
            offer.number = self._number
            self._by_name.setdefault(offer.name, []).append(offer)

    def remove(self, offer: Offer) -> None:
        """Take a service back."""
        with self._lock:
            offers = self._by_name.get(offer.name, [])
            if offer in offers:
                offers.remove(offer)
            if not offers:
                self._by_name.pop(offer.name, None)

    def remove_all(self, module: int) -> None:
        """Take back all services of a module."""
        with self._lock:
            for name in list(self._by_name):
                left = [offer for offer in self._by_name[name] if offer.module != module]
                if left:
                    self._by_name[name] = left
                else:
                    del self._by_name[name]

    def seen_by(self, module: int, name: str) -> list[Offer]:
        """Services of a name that a module may see: its own, and those that others export; the best first."""
        with self._lock:
            offers = list(self._by_name.get(name, ()))
        return sorted((one for one in offers if one.exported or one.module == module), key=Offer.order)


class ModuleServices:
    """The registry as one module has it; see `netserv.modules.api.Services`."""

    def __init__(self, registry: Registry, module: int, exports: frozenset[str]) -> None:
        self._registry, self._module, self._exports = registry, module, exports

    def register(self, name: str, service: object, **properties: str | float) -> Offer:
        """Offer an object."""
        offer = Offer(self._registry, self._module, name, service, properties, exported=name in self._exports)
        self._registry.add(offer)
        return offer

    def find(self, name: str, where: str = "") -> Any:
        """The best service of a name, or None."""
        found = self.find_all(name, where)
        return found[0] if found else None

    def find_all(self, name: str, where: str = "") -> Sequence[Any]:
        """All of them, the best first."""
        test = read_filter(where)
        return [offer.service for offer in self._registry.seen_by(self._module, name) if test(offer.properties)]
