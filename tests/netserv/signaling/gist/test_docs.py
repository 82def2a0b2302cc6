"""docs/gist.md says what the code does."""

import re

import msgspec

from netserv.signaling.gist.config import GistConfig
from netserv.signaling.gist.counters import GistCounters
from tools.state_diagrams import DOCS, with_diagrams

TEXT = (DOCS / "gist.md").read_text()


def section(name):
    return TEXT.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]


def named(text):
    return set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))


def test_the_diagrams_are_those_of_the_tables():
    assert with_diagrams("gist.md", TEXT) == TEXT, "run: python -m tools.state_diagrams --write"


def test_every_setting_stands_there_with_both_profiles():
    shown = {
        name: (default.strip(), rfc.strip())
        for name, default, rfc in re.findall(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|", section("Settings"), re.MULTILINE)
    }
    assert set(shown) == {field.name for field in msgspec.structs.fields(GistConfig)}
    ours, rfc = GistConfig(), GistConfig.rfc()
    for name, (default, other) in shown.items():
        assert default == str(getattr(ours, name))
        assert other in {"", str(getattr(rfc, name))}
        assert bool(other) == (getattr(ours, name) != getattr(rfc, name))


def test_every_counter_stands_there():
    assert named(section("Counters")) == {field.name for field in msgspec.structs.fields(GistCounters)}
