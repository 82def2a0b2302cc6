import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv_discovery.errors import LocalProtocolError, RemoteProtocolError
from netserv_discovery.link_text import (
    pack_txt,
    record_of_txt,
    subtype,
    subtypes_of,
    txt_of,
    unpack_txt,
)
from netserv_discovery.record import encode, split
from netserv_discovery.versions import Offer
from tests.netserv_discovery.strategies import KEY, UNIX
from tests.netserv_discovery.test_record import RECORD, many


def test_people_read_what_matters_and_programs_the_record():
    strings = txt_of(RECORD, encode(RECORD, KEY))
    assert strings[:8] == (
        b"txtvers=1",
        b"id=" + RECORD.node_id.encode(),
        b"blocks=ffmpeg-6.1,http-1.0",
        b"modules=NetServ.apps.NetMonitor-1.0.0",
        b"load=0",
        b"loc=40.71,-74.01",
        b"op=Columbia",
        b"ping=4270",
    )
    assert record_of_txt(strings, UNIX) == RECORD
    assert record_of_txt(reversed(strings), UNIX) == RECORD


def test_a_node_with_many_blocks_fits_a_packet():
    whole = many(200)
    part, _ = split(whole)
    strings = txt_of(whole, encode(part, KEY))
    assert len(pack_txt(strings)) < 1_400
    assert strings[2].endswith(b",...")
    assert record_of_txt(strings, UNIX) == part
    assert len(subtypes_of(whole)) == 32


@pytest.mark.parametrize(
    "strings", [(), (b"rec0",), (b"rec0=!",), (b"rec1=AAAA",), (b"rec0=" + b"A" * 4_000,), (b"rec0=AAAA",)]
)
def test_what_has_no_record_is_refused(strings):
    with pytest.raises(RemoteProtocolError):
        record_of_txt(strings, UNIX)


def test_a_record_that_somebody_has_changed_is_refused():
    strings = [*txt_of(RECORD, encode(RECORD, KEY))]
    strings[-1] = strings[-1].replace(strings[-1][10:12], b"zz")
    with pytest.raises(RemoteProtocolError):
        record_of_txt(strings, UNIX)


@given(st.lists(st.binary(min_size=1, max_size=255), min_size=1, max_size=20).map(tuple))
def test_strings_come_back_as_they_went(strings):
    assert unpack_txt(pack_txt(strings)) == strings


@given(st.binary(max_size=300))
def test_any_bytes_are_strings_or_refused(data):
    try:
        strings = unpack_txt(data)
    except RemoteProtocolError:
        return
    assert data in {b"", pack_txt(strings)}
    with pytest.raises(RemoteProtocolError):
        record_of_txt(strings, UNIX)


def test_a_string_that_is_too_long_is_refused():
    with pytest.raises(LocalProtocolError):
        pack_txt((b"x" * 256,))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("ffmpeg", "_ffmpeg"),
        ("FFmpeg", "_ffmpeg"),
        ("NetServ.blocks.http", "_netserv-blocks-http"),
        ("a" * 99, "_" + "a" * 62),
    ],
)
def test_a_block_has_a_subtype(name, label):
    assert subtype(name) == label


def test_two_versions_of_a_block_are_one_subtype():
    record = msgspec.structs.replace(RECORD, blocks=(Offer("http", "1"), Offer("HTTP", "2"), Offer("ffmpeg", "1")))
    assert subtypes_of(record) == ("_ffmpeg", "_http")
