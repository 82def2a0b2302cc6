import msgspec

from netserv.signaling.prometheus import exposition
from tests.netserv.signaling.test_control import STATUS


def test_numbers_have_help_type_and_the_name_of_the_node() -> None:
    lines = exposition(msgspec.structs.replace(STATUS, node_id='a"b', catching="tproxy", sessions=7)).splitlines()
    assert "# TYPE netserv_sessions gauge" in lines
    assert 'netserv_sessions{node="a\\"b"} 7' in lines
    assert 'netserv_catching{node="a\\"b"} 1' in lines
    assert 'netserv_events_total{node="a\\"b",part="gist",event="received"} 3' in lines
    assert len([line for line in lines if line.startswith("# HELP netserv_events_total")]) == 1


def test_a_host_that_nothing_passes_catches_nothing() -> None:
    assert 'netserv_catching{node="n1"} 0' in exposition(STATUS).splitlines()
