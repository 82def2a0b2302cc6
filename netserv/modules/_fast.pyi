from collections.abc import Callable, Sequence
from typing import Any

from netserv.modules.packets import Packet, PythonPacketView

PacketView = PythonPacketView

def plain_response(
    data: bytes | memoryview, address: str, port: int, method: bytes, event: bytes, status: bytes, salt: bytes, /
) -> tuple[bytes, int] | None: ...
def plain_answers(
    packets: Sequence[Packet],
    method: bytes,
    event: bytes,
    status: bytes,
    salt: bytes,
    otherwise: Callable[[Packet], bytearray | None],
    /,
) -> tuple[list[Any], list[int]]: ...
def plain_reply(raw: memoryview, payload: bytes | bytearray | memoryview, ttl: int, /) -> bytearray | None: ...
