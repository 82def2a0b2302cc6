import pytest

from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.location import Location
from netserv_discovery.versions import Offer, parse_need
from netserv_discovery.want import Wanted

NEAR = Location(0, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"near": NEAR, "limit": 0},
        {"near": NEAR, "limit": 101},
        {"near": NEAR, "radius_km": 0},
        {"node_id": "x", "radius_km": 5},
        {"blocks": (parse_need("a"),) * 33},
    ],
)
def test_what_cannot_be_looked_for_is_refused(changes):
    with pytest.raises(LocalProtocolError):
        Wanted(**changes)


def test_all_that_is_needed_must_be_there():
    wanted = Wanted(blocks=(parse_need("ffmpeg>=5"), parse_need("http")), modules=(parse_need("Cdn"),))
    blocks, modules = (Offer("ffmpeg", "5.1"), Offer("http", "1")), (Offer("cdn", "1"),)
    assert wanted.met_by(blocks, modules)
    assert not wanted.met_by(blocks[:1], modules)
    assert not wanted.met_by(blocks, ())
