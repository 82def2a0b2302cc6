from netserv.modules.packets import PythonPacketView

PacketView = PythonPacketView

def plain_response(
    data: bytes | memoryview, address: str, port: int, method: bytes, event: bytes, status: bytes, salt: bytes, /
) -> tuple[bytes, int] | None: ...
def plain_reply(raw: memoryview, payload: bytes | bytearray | memoryview, ttl: int, /) -> bytearray | None: ...
