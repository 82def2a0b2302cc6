"""What nodes ask and tell each other about records."""

import msgspec

from mdht.records import Copy


class Get(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """What do you hold under this key?"""

    key: bytes
    offset: int = 0
    "Copies to skip: those of earlier pages."


class Put(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Hold these copies."""

    copies: tuple[Copy, ...]


class Listen(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Push changes under this key to me."""

    key: bytes
    lease_s: float
    "0 ends the subscription."


class Offer(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """I hold these keys, which are yours to hold as well: which do you lack?"""

    entries: tuple[tuple[bytes, int], ...]
    "Key and set digest of each."


class Got(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """One page of what is held under a key; tombstones included."""

    copies: tuple[Copy, ...]
    count: int
    "Copies held under the key, of all pages."
    digest: int
    "Set digest of all of them: equal sets need no second transfer."
    partial: bool = False
    "Nothing is held as far as is known here, and somebody else may know better: this is no answer."


class Stored(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """What became of each copy of a `Put`, in its order."""

    codes: tuple[int, ...]
    "0 for stored, else a `RefusalCode`."
    retry_after_s: float = 0.0
    "With BUSY: when to try again."


class Listening(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The subscription stands."""

    lease_s: float
    "Seconds until it ends unless renewed; 0 when refused."
    count: int
    digest: int
    "As in `Got`: a subscriber that missed a push sees it here."


class Wanted(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Positions in an `Offer` of the keys that the receiver lacks or holds differently."""

    positions: tuple[int, ...]


class Pushed(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """New, changed or deleted records under a key that the receiver listens to."""

    copies: tuple[Copy, ...]


Question = Get | Put | Listen | Offer
Answer = Got | Stored | Listening | Wanted
Note = Pushed
