import msgspec
import pytest

from mdht.signing import SigningKey
from netserv_discovery.errors import Refusal, RemoteProtocolError
from netserv_discovery.link_text import record_of_txt, unpack_txt
from netserv_discovery.record import GIST_PORT
from netserv_discovery.sites import site_item, site_name, site_value
from tests.netserv_discovery.strategies import KEY, UNIX
from tests.netserv_discovery.test_record import RECORD
from z2z.cover import PLAIN, Secret
from z2z.seal import Site, seal, site_id, unseal

SECRET, OTHER = Secret(b"s" * 32), Secret(b"o" * 32)


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


@pytest.mark.parametrize("cover", [PLAIN, SECRET])
def test_a_node_is_read_again_by_who_knows_the_secret(cover):
    value = site_value(RECORD, KEY, seq=7, lease_s=300, cover=cover)
    item = site_item(value, cover.writer(KEY).public_key, cover)
    assert record_of_txt(unpack_txt(item.txt), UNIX) == RECORD


def test_under_a_secret_nothing_shows_of_a_node():
    value = site_value(RECORD, KEY, seq=7, lease_s=300, cover=SECRET)
    for told in (KEY.public_key, RECORD.node_id.encode(), b"_netserv", b"ffmpeg"):
        assert told not in value
    assert site_name(RECORD, SECRET) != site_name(RECORD)
    assert SECRET.writer(KEY).public_key != KEY.public_key
    for cover in (OTHER, PLAIN):
        with pytest.raises(RemoteProtocolError):
            site_item(value, SECRET.writer(KEY).public_key, cover)


@pytest.mark.parametrize("cover", [PLAIN, SECRET])
def test_a_copy_that_somebody_else_has_put_is_refused(cover):
    value = site_value(RECORD, KEY, seq=7, lease_s=300, cover=cover)
    with pytest.raises(RemoteProtocolError) as caught:
        site_item(value, SigningKey.from_seed(b"x" * 32).public_key, cover)
    assert caught.value.code is Refusal.BAD_SIGNATURE


def test_a_node_without_an_address_is_refused():
    item = msgspec.structs.replace(unseal(site_value(RECORD, KEY, seq=7, lease_s=300)).item, addresses=())
    value = seal(item, site=Site(id=site_id(KEY.public_key), name="office"), signer=KEY, seq=1, lease_s=60)
    with pytest.raises(RemoteProtocolError, match="without an address"):
        site_item(value, KEY.public_key)


def test_other_services_under_the_key_are_no_nodes():
    item = msgspec.structs.replace(unseal(site_value(RECORD, KEY, seq=7, lease_s=300)).item, service_type="_ipp._tcp")
    value = seal(item, site=Site(id=site_id(KEY.public_key), name="office"), signer=KEY, seq=1, lease_s=60)
    assert site_item(value, KEY.public_key) is None
