"""Chooses how this machine catches packets: by TPROXY where it can, else by NFQUEUE."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from enum import Enum

from netserv.errors import SystemRefusedError
from netserv.signaling.transport import rules
from netserv.signaling.transport.intercept import InterceptConfig, Interceptor
from netserv.signaling.transport.nfqueue import NfqueueInterceptor
from netserv.signaling.transport.tproxy import TproxyInterceptor
from netserv.signaling.transport.udp import UdpPort

log = logging.getLogger(__name__)


class Method(Enum):
    """How packets are caught."""

    AUTO = "auto"
    TPROXY = "tproxy"
    NFQUEUE = "nfqueue"


@asynccontextmanager
async def intercepting(method: Method, config: InterceptConfig, port: UdpPort) -> AsyncIterator[Interceptor]:
    """Catch packets in transit while inside.

    Args:
        method: which way; `AUTO` tries TPROXY, then NFQUEUE.
        config: what to catch.
        port: the GIST port of this node.

    Raises:
        SystemRefusedError: this machine gives none of them, each with the cause and a remedy, or another process
            catches here.
    """
    async with AsyncExitStack() as opened:
        yield await _first(method, config, port, opened)


async def _first(method: Method, config: InterceptConfig, port: UdpPort, opened: AsyncExitStack) -> Interceptor:
    ways: tuple[TproxyInterceptor | NfqueueInterceptor, ...] = (
        TproxyInterceptor(config, port),
        NfqueueInterceptor(config, port.families),
    )
    refused: list[str] = []
    for interceptor in ways:
        if method in {Method.AUTO, Method(interceptor.name)}:
            try:
                return await opened.enter_async_context(interceptor)
            except rules.ClaimedError:
                raise
            except SystemRefusedError as error:
                refused.append(f"{interceptor.name}: {error}")
                log.info("no catching by %s: %s", interceptor.name, error)
    raise SystemRefusedError(f"packets on their way to others cannot be caught; {'; '.join(refused)}")
