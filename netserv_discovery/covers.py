"""Secrets of z2z, as commands and settings name them."""

from collections.abc import Sequence
from pathlib import Path

from netserv_discovery.errors import LocalProtocolError
from z2z.cover import PLAIN, Cover, Secret
from z2z.errors import Z2zError
from z2z.phrases import masters


def read_covers(phrases: Sequence[str], path: Path | None) -> tuple[Cover, ...]:
    """What hides nodes that are shown to sites: the first one those of this machine; none given hides nothing.

    Args:
        phrases: as words.
        path: file with a phrase a line, instead.

    Raises:
        LocalProtocolError: the file cannot be used.
    """
    try:
        return tuple(map(Secret, masters(phrases, path))) or (PLAIN,)
    except Z2zError as error:
        raise LocalProtocolError(str(error)) from error
