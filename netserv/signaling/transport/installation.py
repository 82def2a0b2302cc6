"""Rules of an interceptor in place for as long as it lives, whatever ends it but a `kill -9`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import trio

from netserv.signaling.transport import rules
from netserv.signaling.transport.intercept import InterceptConfig


class Placed(NamedTuple):
    """What this machine has given."""

    families: tuple[int, ...]
    "IP versions that are caught."
    warnings: tuple[str, ...]


@asynccontextmanager
async def in_place(wanted: Sequence[rules.FamilyRules], config: InterceptConfig) -> AsyncIterator[Placed]:
    """Install rules, and remove them at the end; neither is cut in half by a cancellation.

    Raises:
        SystemRefusedError: this machine does not give them; nothing is left in place.
    """
    versions = tuple(each.version for each in wanted)
    try:
        with trio.CancelScope(shield=True):
            refused = await trio.to_thread.run_sync(rules.install, wanted, config)
        families = tuple(version for version in versions if version not in refused)
        lacking = tuple(f"IPv{version} is not caught: {reason}" for version, reason in refused.items())
        yield Placed(families, rules.warnings(families) + lacking)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(rules.remove, versions, config)
