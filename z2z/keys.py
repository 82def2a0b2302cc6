"""Search keys: people type them, so only letters and digits count (thesis 4.3.1)."""

import hashlib
import unicodedata
from typing import Final

from z2z.errors import LocalProtocolError

_PASSES_MAX: Final = 4
"Folding can make room for one more composition; two passes settle every string found so far, four is the bound."


def normalise(text: str) -> str:
    """Return what of a key counts: its letters and digits, case-folded ("Joe's Music" is "joesmusic").

    Letters and digits are the Unicode categories L* and N*, compared after compatibility composition (NFKC), so that
    a full-width or ligature form of a key finds the same services.

    Raises:
        LocalProtocolError: nothing is left.
    """
    folded = text
    for _ in range(_PASSES_MAX):
        before = folded
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", folded).casefold())
        folded = "".join(char for char in folded if unicodedata.category(char)[0] in "LN")
        if folded == before:
            break
    if not folded:
        raise LocalProtocolError(f"key {text!r} has no letter and no digit; only those count, as in --key office")
    return folded


def dht_key(text: str) -> bytes:
    """Return the 20-byte key under which a store keeps what was exported as `text`.

    Raises:
        LocalProtocolError: the text has no letter and no digit.
    """
    return hashlib.sha1(b"z2z." + normalise(text).encode(), usedforsecurity=False).digest()
