import pytest

from mdht.ports.effects import Cause, Lack, Protocol
from mdht.ports.words import lack_text


@pytest.mark.parametrize(
    ("lack", "words"),
    [
        (Lack(cause=Cause.STARTING), ("192.168.1.1 is being asked",)),
        (Lack(cause=Cause.NO_GATEWAY), ("no router", "default route")),
        (Lack(cause=Cause.SILENT), ("neither PCP nor NAT-PMP nor UPnP", "--public")),
        (Lack(cause=Cause.SILENT, detail="without UPnP"), ("neither PCP nor NAT-PMP;", "(without UPnP)")),
        (
            Lack(cause=Cause.REFUSED, protocol=Protocol.PCP, detail="NOT_AUTHORIZED"),
            ("refuses by PCP: NOT_AUTHORIZED", "settings forbid it"),
        ),
        (Lack(cause=Cause.REFUSED, protocol=Protocol.UPNP, detail="Odd"), ("refuses by UPnP: Odd",)),
        (
            Lack(cause=Cause.TRANSLATED, protocol=Protocol.PCP, outside=("100.64.3.2", 5)),
            ("itself behind a router", "100.64.3.2:5", "carrier"),
        ),
        (Lack(cause=Cause.ENDED), ("given back",)),
    ],
)
def test_the_words_name_cause_and_remedy(lack: Lack, words: tuple[str, ...]) -> None:
    said = lack_text(lack, "192.168.1.1")
    assert all(word in said for word in words), said


def test_before_the_first_look_there_is_neither_a_router_nor_none() -> None:
    assert lack_text(Lack(cause=Cause.STARTING), "") == "the router is being looked for"
