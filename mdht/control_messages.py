"""Requests and replies of the control socket, one JSON line each. Bytes travel as base64 (msgspec's JSON)."""

from typing import Annotated, TypeAlias

import msgspec

from mdht.records import KEY_BYTES, NAME_MAX
from mdht.results import Change, Explanation, Found, Receipt, Status

Key: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
Name: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=NAME_MAX)]


class Put(msgspec.Struct, frozen=True, kw_only=True, tag_field="method", tag="put"):
    """Write a value."""

    key: Key
    value: bytes
    ttl_s: float
    name: Name = b""


class Get(msgspec.Struct, frozen=True, kw_only=True, tag_field="method", tag="get"):
    """Read what lives under a key."""

    key: Key
    fresh: bool = False
    "Not from a cache."


class Remove(msgspec.Struct, frozen=True, kw_only=True, tag_field="method", tag="remove"):
    """Remove the node's own value of that name."""

    key: Key
    name: Name = b""


class Watch(msgspec.Struct, frozen=True, kw_only=True, tag_field="method", tag="watch"):
    """Follow a key."""

    key: Key


class Explain(msgspec.Struct, frozen=True, kw_only=True, tag_field="method", tag="explain"):
    """Show how a key is reached."""

    key: Key


class GetStatus(msgspec.Struct, frozen=True, kw_only=True, tag_field="method", tag="status"):
    """Show the node's state."""


Request: TypeAlias = Put | Get | Remove | Watch | Explain | GetStatus


class ReceiptLine(msgspec.Struct, frozen=True, tag_field="reply", tag="receipt"):
    """Answers `put` and `remove`."""

    receipt: Receipt


class FoundLine(msgspec.Struct, frozen=True, tag_field="reply", tag="found"):
    """One of the answers to `get`."""

    found: Found


class ChangeLine(msgspec.Struct, frozen=True, tag_field="reply", tag="change"):
    """One of the answers to `watch`."""

    change: Change


class ExplanationLine(msgspec.Struct, frozen=True, tag_field="reply", tag="explanation"):
    """Answers `explain`."""

    explanation: Explanation


class StatusLine(msgspec.Struct, frozen=True, tag_field="reply", tag="status"):
    """Answers `status`."""

    status: Status


class EndLine(msgspec.Struct, frozen=True, tag_field="reply", tag="end"):
    """Nothing follows."""


class ErrorLine(msgspec.Struct, frozen=True, tag_field="reply", tag="error"):
    """The request failed; nothing follows."""

    kind: str
    "`local` (the request is at fault), `unreachable`, `missing_chunk` or `other`."
    message: str


Reply: TypeAlias = ReceiptLine | FoundLine | ChangeLine | ExplanationLine | StatusLine | EndLine | ErrorLine
