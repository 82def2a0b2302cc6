"""All that the console shows at one moment, and what changes in it. No I/O.

Sources bring a view each; the page gets the whole picture once, and then what is new in it. Here, in one place, texts
of the network are made harmless: control characters and those that turn the direction of a text are written out, and
everything has a length. (That no text becomes markup is the page's business: it never makes any.)
"""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final, Literal, TypeAlias

import msgspec

from netserv_discovery.console.items import SourceSeen

ITEMS_MAX: Final = 2_000
"Of one kind from one source: a page with more is of no use, and an event for each of them has some 0.5 MB."
TEXT_MAX: Final = 400
"Characters of a text; reasons of policies are the longest."
PARTS_MAX: Final = 64
"Texts or values in one field: a node has up to 32 subtypes, a subnet some 50 neighbours."
_HARMFUL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"Controls; line separators; marks, embeddings, overrides and isolates of direction (UAX 9); lone surrogates."

Part: TypeAlias = Literal["nodes", "subnets", "programs", "services", "sources", "hops", "flows"]
Items: TypeAlias = Mapping[Part, Mapping[str, msgspec.Struct]]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What one source sees now."""

    items: Items = {}
    "By part and by a key that is its own in the source."
    works: bool = True
    why: str = ""
    "What it sees in words, or why it sees nothing and what to do about it."


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What is other than before."""

    set: dict[str, dict[str, Any]]
    "New and changed items by part and key."
    gone: dict[str, list[str]]


class Picture:
    """The picture."""

    def __init__(self) -> None:
        self._held: dict[str, dict[tuple[Part, str], _Held]] = {}

    def update(self, source: str, title: str, view: View) -> Change | None:
        """Take a source's view in the place of the one before.

        Args:
            source: its name.
            title: for people.
            view: all that it sees.

        Returns:
            What is new, None where all is as it was.
        """
        before, after = self._held.get(source, {}), {}
        change = Change(set={}, gone={})
        for (part, key), item in _bounded(source, title, view).items():
            held = before.get((part, key))
            if held is None or held.said != item:
                shown = harmless(msgspec.to_builtins(item))
                if held is None or held.shown != shown:
                    change.set.setdefault(part, {})[key] = shown
                held = _Held(item, shown)
            after[part, key] = held
        for part, key in before:
            if (part, key) not in after:
                change.gone.setdefault(part, []).append(key)
        self._held[source] = after
        return change if change.set or change.gone else None

    def whole(self) -> dict[str, dict[str, Any]]:
        """All items by part and key."""
        parts: dict[str, dict[str, Any]] = {}
        for items in self._held.values():
            for (part, key), held in items.items():
                parts.setdefault(part, {})[key] = held.shown
        return parts


class _Held(msgspec.Struct, frozen=True):
    """One item: what was said is compared, which is quick, and what is shown is made once."""

    said: msgspec.Struct
    shown: Any


def harmless(value: Any) -> Any:
    """Return a value of JSON whose texts can steer nothing and whose sizes are bounded."""
    if isinstance(value, str):
        text = _HARMFUL.sub(lambda match: match[0].encode("unicode_escape").decode(), value[: TEXT_MAX + 1])
        return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"
    if isinstance(value, dict):
        return {harmless(str(key)): harmless(each) for key, each in list(value.items())[:PARTS_MAX]}
    if isinstance(value, list | tuple):
        return [harmless(each) for each in value[:PARTS_MAX]]
    return value


def _bounded(source: str, title: str, view: View) -> dict[tuple[Part, str], msgspec.Struct]:
    """As many items as are shown, and how their source stands."""
    items: dict[tuple[Part, str], msgspec.Struct] = {}
    left_out = 0
    for part, seen in view.items.items():
        left_out += max(0, len(seen) - ITEMS_MAX)
        items |= {(part, harmless(f"{source}/{key}")): item for key, item in islice(seen.items(), ITEMS_MAX)}
    items["sources", source] = SourceSeen(title=title, works=view.works, why=view.why, left_out=left_out)
    return items
