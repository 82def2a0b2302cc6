import hashlib

import msgspec

from netserv_discovery import keys
from netserv_discovery.keys import ADVERTISED_MAX, keys_of
from netserv_discovery.location import Location
from netserv_discovery.versions import Offer
from tests.netserv_discovery.test_record import RECORD, changed


def test_a_key_is_the_sha1_of_a_text_that_people_can_read():
    assert keys.block_key("ffmpeg") == hashlib.sha1(b"netserv.block:ffmpeg").digest()
    assert keys.block_cell_key("FFmpeg", "dr5") == keys.dht_key("block:ffmpeg@dr5")
    assert len(keys.node_key("x")) == 20


def test_keys_of_different_things_differ():
    made = [
        keys.node_key("ffmpeg"),
        keys.block_key("ffmpeg"),
        keys.module_key("ffmpeg"),
        keys.cell_key("ffmpeg"),
        keys.index_key("ffmpeg"),
        keys.block_cell_key("ffmpeg", "d"),
        keys.module_cell_key("ffmpeg", "d"),
        keys.list_key(b"ffmpeg"),
    ]
    assert len(set(made)) == len(made)


def test_a_record_is_advertised_under_node_blocks_modules_and_cells():
    places = keys_of(RECORD)
    texts = [place.text for place in places]
    cells = ["dr5re", "dr5", "dr", "d"]
    expected = [f"node:{RECORD.node_id}"]
    for name in ("block:ffmpeg", "block:http", "module:netserv.apps.netmonitor"):
        expected += [name, *(f"{name}@{cell}" for cell in cells)]
    assert texts == [*expected, *(f"cell:{cell}" for cell in cells)]
    assert {place.offer for place in places if "ffmpeg" in place.text} == {"ffmpeg"}
    assert all(place.key == keys.dht_key(place.text) for place in places)


def test_without_a_place_there_are_no_cells():
    assert [place.text for place in keys_of(changed(location=None, modules=()))] == [
        f"node:{RECORD.node_id}",
        "block:ffmpeg",
        "block:http",
    ]


def test_two_versions_of_a_block_are_one_key():
    offers = (Offer("ffmpeg", "5"), Offer("FFmpeg", "6"))
    assert len(keys_of(changed(blocks=offers, modules=(), location=None))) == 2


def test_the_number_of_keys_is_bounded():
    offers = tuple(Offer(f"block{number}", "1") for number in range(200))
    record = msgspec.structs.replace(RECORD, blocks=offers, modules=offers, location=Location(0, 0))
    assert len(keys_of(record)) == 1 + 2 * 5 * ADVERTISED_MAX + 4
