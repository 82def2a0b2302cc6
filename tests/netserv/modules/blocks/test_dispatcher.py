import pytest

from netserv.errors import LocalProtocolError
from netserv.modules.api import ACCEPT, DROP
from netserv.modules.blocks.dispatcher import RULES_MAX, TCP, UDP, PacketDispatcher
from tests.netserv.modules.test_packets import FOUR, packet_bytes, view


def test_the_first_rule_that_fits_decides_and_ports_go_first() -> None:
    packets = PacketDispatcher()
    packets.on(proto=UDP)(lambda _: b"any datagram")
    packets.on(proto=UDP, port=6000, prefix=b"NOTIFY ")(lambda _: DROP)
    packets.on(port=6000, prefix=b"BYE")(lambda _: b"bye")

    def said(proto: int, payload: bytes, port: int = 6000) -> object:
        return packets.process(view(packet_bytes(FOUR, proto, payload, (5060, port))))

    assert said(UDP, b"NOTIFY sip:x") is DROP
    assert said(UDP, b"NOTIF") == b"any datagram"
    assert said(UDP, b"BYE") == said(TCP, b"BYE") == b"bye"
    assert said(UDP, b"NOTIFY ", 6001) == b"any datagram"
    assert said(TCP, b"NOTIFY ") is ACCEPT


def test_rules_are_few() -> None:
    packets = PacketDispatcher(DROP)
    for _ in range(RULES_MAX):
        packets.on(port=1)(lambda _: ACCEPT)
    with pytest.raises(LocalProtocolError, match="at most 256 rules"):
        packets.on(port=1)(lambda _: ACCEPT)
    assert packets.process(view(packet_bytes(FOUR, UDP, b""))) is DROP
