import pytest

from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.facts_file import offers, parse_facts
from netserv_discovery.location import Location
from netserv_discovery.versions import Offer

WHOLE = """\
node_id = "router-7"
operator = "Example Net"
location = [40.71, -74.01]
gist_port = 1270

[blocks]
ffmpeg = "5.1"
geoip = ["1.0", "2.0"]

[modules]
"NetServ.apps.MediaRelay" = "1.2.0"

[limits]
modules = 8
"""


def test_a_file_says_what_a_node_is() -> None:
    facts = parse_facts(WHOLE)
    assert (facts.node_id, facts.operator, facts.gist_port) == ("router-7", "Example Net", 1270)
    assert facts.place() == Location(40.71, -74.01)
    assert offers(facts.blocks) == (Offer("ffmpeg", "5.1"), Offer("geoip", "1.0"), Offer("geoip", "2.0"))
    assert offers(facts.modules) == (Offer("NetServ.apps.MediaRelay", "1.2.0"),)
    assert (facts.limits.modules, facts.limits.memory_mib) == (8, 0)


def test_an_empty_file_says_nothing() -> None:
    facts = parse_facts("")
    assert facts.place() is None
    assert offers(facts.blocks) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "not facts"),
        ("nodeid = 'x'", "nodeid"),
        ("location = [91.0, 0.0]", "no place"),
        ("location = [1.0]", "location"),
        ("[blocks]\nffmpeg = 5", "blocks"),
        ("[blocks]\nffmpeg = 'five'", "no version"),
        ("[blocks]\n'1x' = '5'", "no name"),
        ("[limits]\nmodules = 'x'", "limits"),
    ],
)
def test_a_file_that_says_something_else_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(LocalProtocolError, match=words):
        parse_facts(text)
