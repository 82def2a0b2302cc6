"""Service types that a link offers, as its enumeration name lists them (RFC 6763 section 9)."""

from z2z.errors import RemoteProtocolError
from z2z.mdns.cache import Cache, Cached
from z2z.mdns.messages import ENUMERATION, RR_PTR, Name, Ptr, Record, TypeEvent, TypeFound, TypeLost, fold
from z2z.service_item import check_service_type


class Types:
    """The types that were reported as found.

    Args:
        cache: where the pointers to them are.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._found: set[str] = set()

    @property
    def names(self) -> list[str]:
        """The types, sorted."""
        return sorted(self._found)

    def clear(self) -> None:
        """Forget them; nothing is reported."""
        self._cache.drop(ENUMERATION, RR_PTR)
        self._found.clear()

    def hear(self, record: Record, target: Name, now: float) -> list[TypeEvent]:
        """Take a pointer of the enumeration name; what names no service type is passed over."""
        try:
            service_type = check_service_type(b".".join(target[:2]).decode())
        except (RemoteProtocolError, UnicodeDecodeError):
            return []
        if not self._cache.put(record, now) or service_type in self._found:
            return []
        self._found.add(service_type)
        return [TypeFound(service_type)]

    def lose(self, cached: Cached) -> list[TypeEvent]:
        """Take note that a pointer has run out."""
        data = cached.record.data
        service_type = b".".join(fold(data.target[:2])).decode() if isinstance(data, Ptr) else ""
        if service_type not in self._found:
            return []
        self._found.discard(service_type)
        return [TypeLost(service_type)]
