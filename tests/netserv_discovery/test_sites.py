import msgspec

from netserv_discovery.link_text import record_of_txt, unpack_txt
from netserv_discovery.record import GIST_PORT
from netserv_discovery.sites import site_name, site_value
from tests.netserv_discovery.strategies import KEY, UNIX
from tests.netserv_discovery.test_record import RECORD
from z2z.seal import unseal


def test_a_node_is_an_item_of_z2z():
    record = msgspec.structs.replace(RECORD, addresses=(b"\x20\1\x0d\xb8" + bytes(11) + b"\1", b"\xa0\x27\xf3\x63"))
    opened = unseal(site_value(record, KEY, seq=7, lease_s=300))
    assert (opened.writer, opened.seq, opened.lease_s) == (KEY.public_key, 7, 300)
    assert opened.site.name == record.node_id
    item = opened.item
    assert (item.service_type, item.instance, item.port) == ("_netserv._udp", record.node_id.encode(), GIST_PORT)
    assert item.subtypes == ("_ffmpeg", "_http")
    assert [str(each) for each in item.addresses] == ["160.39.243.99", "2001:db8::1"]
    assert record_of_txt(unpack_txt(item.txt), UNIX) == record
    assert len(site_name(record)) == 20


def test_any_name_of_a_node_makes_a_host_label():
    record = msgspec.structs.replace(RECORD, node_id="rack_1.row-2")
    assert unseal(site_value(record, KEY, seq=1, lease_s=60)).item.host == b"rack-1-row-2"
