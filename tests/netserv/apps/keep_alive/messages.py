"""Keep-alives for tests."""

AGENT = ("192.0.2.7", 40_000)
NOTIFY = b"""\
NOTIFY sip:10.1.0.2:5060 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7:40000;branch=z9hG4bK-4f3a8d21
From: "agent" <sip:agent@10.1.0.2>;tag=1b2c3d
To: <sip:10.1.0.2>
Call-ID: 3f2504e0@192.0.2.7
CSeq: 42 NOTIFY
Max-Forwards: 70
Event: keep-alive
User-Agent: Linksys/SPA942-6.1.5(a)
Content-Length: 0

""".replace(b"\n", b"\r\n")


def notify(*changes: tuple[bytes, bytes]) -> bytes:
    """A NOTIFY with something in it replaced."""
    data = NOTIFY
    for old, new in changes:
        assert old in data
        data = data.replace(old, new, 1)
    return data
