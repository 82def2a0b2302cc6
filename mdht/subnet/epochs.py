"""Numbers that siblings share and that only grow: each takes in what it hears, and counts its own changes from there.

They have 32 bits on the wire. At a change a second they last for a century, so a number far beyond one's own is a
mistake or a lie; believed, it would leave no room for true changes.
"""

from typing import Final

EPOCH_MAX: Final = 0xFFFF_FFFF
JUMP_MAX: Final = 1 << 30
"A host that starts at 0 hears no larger one within 34 years of a change a second."

INCARNATIONS_AHEAD_MAX: Final = 1 << 16
"""A host whose disk was put back to an older state is accused by a number above its own, and answers with a larger one
still. Further ahead than any backup explains, that would only use the numbers up."""


def next_epoch(epoch: int) -> int:
    """The number after a change; the largest stays."""
    return min(epoch + 1, EPOCH_MAX)


def believable(own: int, heard: int) -> bool:
    """Whether a number may be taken in."""
    return heard <= min(own + JUMP_MAX, EPOCH_MAX)


def checked(epoch: int) -> int:
    """A number from disk.

    Raises:
        ValueError: it does not fit the wire.
    """
    if not 0 <= epoch <= EPOCH_MAX:
        raise ValueError(f"an epoch is between 0 and {EPOCH_MAX}, not {epoch}")
    return epoch


def refutation(own: int, accused: int) -> int | None:
    """The incarnation by which a host that is accused shows that it lives.

    Returns:
        None for an accusation that is out of date, and where there is no larger number.
    """
    if accused < own or own >= EPOCH_MAX:
        return None
    believed = accused < min(own + INCARNATIONS_AHEAD_MAX, EPOCH_MAX)
    return accused + 1 if believed else own + 1
