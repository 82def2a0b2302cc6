"""All requests of others at this node, with the limits on them."""

from collections import Counter, OrderedDict
from collections.abc import Iterator

from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.nslp.config import NslpConfig
from netserv.signaling.nslp.exchange import Exchange, ExchangeKey, SessionKey


class Exchanges:
    """Open ones, and answered ones that are kept for a while.

    Args:
        config: limits.
        handles: numbers for what GIST is to report about.
    """

    def __init__(self, config: NslpConfig, handles: Iterator[int]) -> None:
        self._config = config
        self._handles = handles
        self._all: dict[ExchangeKey, Exchange] = {}
        self._of_session: dict[SessionKey, dict[bytes, Exchange]] = {}
        self._of_handle: dict[int, Exchange] = {}
        self._of_source: Counter[PackedAddress] = Counter()
        self._kept: OrderedDict[ExchangeKey, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._all)

    @property
    def open(self) -> int:
        """Those that wait for an answer."""
        return len(self._all) - len(self._kept)

    def get(self, key: ExchangeKey) -> Exchange | None:
        """That of a request which may have come before."""
        return self._all.get(key)

    def find(self, session: SessionKey, number: bytes) -> Exchange | None:
        """That which a response answers."""
        return self._of_session.get(session, {}).get(number)

    def of_session(self, session: SessionKey) -> tuple[Exchange, ...]:
        """Those of one session."""
        return tuple(self._of_session.get(session, {}).values())

    def of_handle(self, handle: int) -> Exchange | None:
        """That which GIST reports about."""
        return self._of_handle.get(handle)

    def has_room(self, source: PackedAddress) -> bool:
        """Whether one more may wait, of a flow from there."""
        return self.open < self._config.pending_max and self._of_source[source] < self._config.pending_of_source_max

    def add(self, exchange: Exchange) -> None:
        """A request has come."""
        self._all[exchange.key] = exchange
        self._of_session.setdefault(exchange.session, {})[exchange.number] = exchange
        self._of_source[exchange.key[1].source] += 1

    def numbered(self, exchange: Exchange) -> int:
        """A new handle for what GIST is to deliver."""
        self._unnumber(exchange)
        exchange.handle = next(self._handles)
        self._of_handle[exchange.handle] = exchange
        return exchange.handle

    def close(self, exchange: Exchange) -> Exchange | None:
        """It is answered: keep it. Returns the oldest one if there are too many, for the caller to forget."""
        self._unnumber(exchange)
        source = exchange.key[1].source
        self._of_source[source] -= 1
        if not self._of_source[source]:
            del self._of_source[source]
        self._kept[exchange.key] = None
        if len(self._kept) <= self._config.kept_max:
            return None
        return self._all[next(iter(self._kept))]

    def forget(self, exchange: Exchange) -> None:
        """It is kept no more."""
        del self._all[exchange.key]
        del self._kept[exchange.key]
        siblings = self._of_session[exchange.session]
        del siblings[exchange.number]
        if not siblings:
            del self._of_session[exchange.session]

    def _unnumber(self, exchange: Exchange) -> None:
        if exchange.handle is not None:
            del self._of_handle[exchange.handle]
            exchange.handle = None
