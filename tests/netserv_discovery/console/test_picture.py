import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv_discovery.console.items import NodeSeen
from netserv_discovery.console.picture import ITEMS_MAX, PARTS_MAX, TEXT_MAX, Picture, View, harmless


def node(name: str, **changes: object) -> NodeSeen:
    return msgspec.structs.replace(NodeSeen(node=name, name=name, way="link"), **changes)


def view(*nodes: NodeSeen, why: str = "") -> View:
    return View(items={"nodes": {each.node: each for each in nodes}}, why=why)


def test_only_what_is_new_is_told() -> None:
    picture = Picture()
    first = picture.update("link", "Link", view(node("a"), node("b")))
    assert first is not None
    assert set(first.set["nodes"]) == {"link/a", "link/b"}
    assert first.gone == {}
    assert picture.update("link", "Link", view(node("b"), node("a"))) is None
    changed = picture.update("link", "Link", view(node("a", load=0.5)))
    assert changed is not None
    assert set(changed.set["nodes"]) == {"link/a"}
    assert changed.set["nodes"]["link/a"]["load"] == 0.5
    assert changed.gone == {"nodes": ["link/b"]}


def test_a_source_that_fails_loses_what_it_has_shown_and_says_why() -> None:
    picture = Picture()
    picture.update("link", "Link", view(node("a")))
    picture.update("dht", "DHT", view(node("a")))
    picture.update("link", "Link", View(works=False, why="eth0 is down"))
    whole = picture.whole()
    assert set(whole["nodes"]) == {"dht/a"}, "the other source's is left alone"
    assert whole["sources"]["link"] == {"title": "Link", "works": False, "why": "eth0 is down", "left_out": 0}


def test_changes_one_after_the_other_make_the_whole() -> None:
    picture, seen = Picture(), {}
    for names in ("ab", "bc", "", "c"):
        change = picture.update("link", "Link", view(*map(node, names)))
        assert change is not None
        for part, items in change.set.items():
            seen.setdefault(part, {}).update(items)
        for part, keys in change.gone.items():
            for key in keys:
                del seen[part][key]
        assert {part: items for part, items in seen.items() if items} == picture.whole()


def test_a_flood_is_cut_and_counted() -> None:
    picture = Picture()
    picture.update("link", "Link", view(*(node(f"n{number}") for number in range(ITEMS_MAX + 7))))
    whole = picture.whole()
    assert len(whole["nodes"]) == ITEMS_MAX
    assert whole["sources"]["link"]["left_out"] == 7


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Tom's <b>Music</b> & more", "Tom's <b>Music</b> & more"),
        ("a\nb\0", "a\\nb\\x00"),
        ("office\u202etxt.exe", "office\\u202etxt.exe"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("\ud800", "\\ud800"),
        ("x" * 1_000, "x" * (TEXT_MAX - 1) + "…"),
        (["y"] * 1_000, ["y"] * PARTS_MAX),
        ("日本語 🎵", "日本語 🎵"),
    ],
)
def test_texts_of_the_network_can_steer_nothing(said: object, shown: object) -> None:
    assert harmless(said) == shown


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_whatever_is_said_becomes_bounded_json_without_controls(said: object) -> None:
    text = msgspec.json.encode(harmless(said)).decode()
    assert not any(ord(char) < 0x20 or "\x7f" <= char <= "\x9f" or "\u202a" <= char <= "\u202e" for char in text)
