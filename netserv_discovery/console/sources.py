"""Where the console's picture comes from: what a source is, and how one is kept running."""

import logging
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

import trio

from mdht.errors import MdhtError
from netserv_discovery.console.picture import View
from netserv_discovery.errors import DiscoveryError
from z2z.errors import Z2zError

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"Between two looks at a program that tells its state only when asked; a look costs some milliseconds."
RETRY_S: Final = 3.0
"After which a source that has failed is tried again."
EXPECTED: Final = (DiscoveryError, MdhtError, Z2zError, OSError)
"What may go wrong with sources; anything else is a mistake in this program."

Tell: TypeAlias = Callable[[View], None]


class Source(Protocol):
    """Something that sees part of what the console shows."""

    name: str
    "Its own, in letters."
    title: str
    "For people."

    async def snapshot(self) -> View:
        """All that it sees now.

        Raises:
            MdhtError, Z2zError, OSError: it sees nothing; the text says why, and what to do about it.
        """
        ...

    async def changes(self, tell: Tell) -> None:
        """Tell of what it sees, now and whenever that may have changed, until cancelled.

        Raises:
            MdhtError, Z2zError, OSError: as above.
        """
        ...


async def look_again_and_again(source: Source, tell: Tell) -> None:
    """Be the `changes` of a source that has to be asked."""
    while True:
        tell(await source.snapshot())
        await trio.sleep(LOOK_S)


async def keep(source: Source, show: Callable[[str, str, View], None]) -> None:
    """Show what a source sees until cancelled, and why it sees nothing while it fails."""

    def tell(view: View) -> None:
        show(source.name, source.title, view)

    while True:
        try:
            await source.changes(tell)
        except EXPECTED as error:
            why = _reason(error)
        except BaseExceptionGroup as group:  # the same, through a nursery
            expected, rest = group.split(EXPECTED)
            if rest is not None or expected is None:
                raise
            why = _reason(expected)
        else:
            why = "it has ended"
        log.debug("%s: %s", source.name, why)
        tell(View(works=False, why=why))
        await trio.sleep(RETRY_S)


def counted(number: int, noun: str) -> str:
    """So many of them, in words."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
