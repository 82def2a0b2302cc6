"""The note that a test query ends with."""

from typing import Annotated

import msgspec

from dhtboot.ids import ID_BYTES


class TestMessage(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """The note that a query ends with."""

    __test__ = False  # not a test case, whatever its name says to pytest

    key: Annotated[bytes, msgspec.Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
    hops: Annotated[int, msgspec.Meta(ge=0, le=255)]
