import time
from ipaddress import ip_address
from typing import Any

import pytest
import trio

from mdht.signing import SigningKey
from netserv_discovery.console.link_source import LinkSource, node_on_link
from netserv_discovery.console.picture import View
from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.link_io import LinkChange
from netserv_discovery.link_text import SERVICE_TYPE, pack_txt, txt_of
from netserv_discovery.record import NodeRecord, encode
from netserv_discovery.versions import Offer
from z2z.service_item import ServiceItem

KEY = SigningKey.from_seed(b"k" * 32)
NOW = int(time.time())
RECORD = NodeRecord(
    public_key=KEY.public_key, node_id="edge", blocks=(Offer("ffmpeg", "5.1"),), load=3, issued=NOW, expires=NOW + 60
)


def item(txt: bytes, **changes: Any) -> ServiceItem:
    given = {"instance": b"edge", "service_type": SERVICE_TYPE, "host": b"h", "port": 270, "subtypes": ("_sip",)}
    return ServiceItem(**given | {"txt": txt, "addresses": (ip_address("192.0.2.1"),)} | changes)


def test_an_announced_node_is_shown_by_its_signed_record() -> None:
    txt = pack_txt(txt_of(RECORD, encode(RECORD, KEY)))
    seen = node_on_link(item(txt, instance=b"edge (2)"), "eth0", NOW)
    assert (seen.node, seen.name, seen.signed, seen.load, seen.interface) == ("edge", "edge (2)", True, 0.3, "eth0")
    assert [(each.name, each.version) for each in seen.blocks] == [("ffmpeg", "5.1")], "not what the subtypes say"


@pytest.mark.parametrize(
    ("txt", "why"),
    [
        (b"\0", "without a record"),
        (pack_txt((b"id=edge", b"rec0=!!")), "no base64"),
        (pack_txt(txt_of(RECORD, encode(RECORD, KEY)[:-1] + b"?")), "signature does not fit"),
    ],
)
def test_without_a_sound_record_it_says_that_nobody_has_signed(txt: bytes, why: str) -> None:
    seen = node_on_link(item(txt), "eth0", NOW)
    assert (seen.signed, seen.public_key, seen.load, seen.node) == (False, "", None, "edge")
    assert seen.notes[0].startswith("not signed: ")
    assert why in seen.notes[0]
    assert [each.name for each in seen.blocks] == ["sip"]


def test_an_old_record_put_again_does_not_count() -> None:
    seen = node_on_link(item(pack_txt(txt_of(RECORD, encode(RECORD, KEY)))), "eth0", NOW + 61)
    assert not seen.signed
    assert "expired" in seen.notes[0]


def test_what_comes_changes_and_goes_is_followed_link_by_link() -> None:
    source = LinkSource(("eth0", "eth1"), lambda: NOW)

    def shown() -> list[tuple[str, str]]:
        async def look() -> list[tuple[str, str]]:
            return [(each.interface, each.name) for each in (await source.snapshot()).items["nodes"].values()]

        return trio.run(look)

    for kind, interface, announced in (
        ("found", "eth0", item(b"\0")),
        ("found", "eth1", item(b"\0")),
        ("changed", "eth0", item(pack_txt(txt_of(RECORD, encode(RECORD, KEY))))),
        ("lost", "eth1", None),
        ("lost", "eth1", None),
    ):
        source._take(LinkChange(kind=kind, interface=interface, instance="edge", item=announced))
    assert shown() == [("eth0", "edge")]


def test_a_link_that_cannot_be_used_is_named() -> None:
    told: list[View] = []
    with pytest.RaisesGroup(
        pytest.RaisesExc(LocalProtocolError, match="does not exist"), flatten_subgroups=True, allow_unwrapped=True
    ):
        trio.run(LinkSource(("nosuch0",)).changes, told.append)
    assert told == []
