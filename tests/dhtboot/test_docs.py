"""docs/kademlia.md and docs/chord.md say what the code does."""

import re
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from msgspec.structs import fields

from dhtboot.bootstrap_messages import BootstrapPacket
from dhtboot.chord.config import ChordConfig
from dhtboot.chord.messages import Packet as ChordPacket
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.kademlia.messages import Packet
from tools.state_diagrams import DOCS, MACHINES, main, mermaid, with_diagrams

TEXTS = {name: (DOCS / f"{name}.md").read_text() for name in ("kademlia", "chord")}


def rows(document: str, columns: int) -> list[tuple[str, ...]]:
    """All table rows of the document with so many columns, without headings."""
    lines = re.findall(r"^\|(.*)\|$", TEXTS[document], re.MULTILINE)
    found = [tuple(cell.strip() for cell in line.split("|")) for line in lines]
    return [row for row in found if len(row) == columns and not set(row[0]) <= {"-"}]


def kinds(packet: Any) -> list[Any]:
    union = get_type_hints(packet)["message"]
    assert isinstance(union, UnionType) or get_origin(union)
    return [get_origin(kind) or kind for kind in get_args(union)]


def test_the_diagrams_are_those_of_the_tables() -> None:
    for name, text in TEXTS.items():
        assert with_diagrams(f"{name}.md", text) == text, "run: python -m tools.state_diagrams --write"
    for machine in MACHINES.values():
        drawn = mermaid(machine)
        assert drawn.count("-->") == len(machine.transitions) + 1


def test_a_document_without_the_place_is_named() -> None:
    with pytest.raises(ValueError, match=r"docs/kademlia\.md needs exactly one place for the diagram 'join'"):
        with_diagrams("kademlia.md", "nothing")


def test_the_tool_prints_the_diagrams(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("stateDiagram-v2\n    [*] --> new\n")


PACKETS = {"kademlia": (Packet, BootstrapPacket), "chord": (ChordPacket,)}


@pytest.mark.parametrize(("document", "packet"), [(name, packet) for name in PACKETS for packet in PACKETS[name]])
def test_every_message_stands_in_the_table_with_its_tag_and_fields(document: str, packet: Any) -> None:
    table = {name: (tag, elements) for tag, name, elements, _answers in rows(document, 4)}
    for kind in kinds(packet):
        elements = ", ".join(kind.__struct_fields__) or "-"
        assert table[kind.__name__] == (str(kind.__struct_config__.tag), elements)


@pytest.mark.parametrize("document", PACKETS)
def test_no_message_stands_in_the_table_that_does_not_exist(document: str) -> None:
    names = {kind.__name__ for packet in PACKETS[document] for kind in kinds(packet)}
    assert {row[1] for row in rows(document, 4)} - {"message"} == names
    answers = {name.strip() for row in rows(document, 4) for name in row[3].split(",")} - {"", "answered by"}
    assert answers <= names


@pytest.mark.parametrize(("document", "config"), [("kademlia", KademliaConfig), ("chord", ChordConfig)])
def test_every_setting_stands_in_the_table_with_both_values(document: str, config: Any) -> None:
    table = {name: (live, thesis) for name, live, thesis in rows(document, 3)[1:]}
    live, thesis = config(), config.thesis()
    expected = {
        field.name: (str(getattr(live, field.name)), str(getattr(thesis, field.name)))
        for field in fields(config)
        if field.name != "timeouts"
    }
    assert table == expected


@pytest.mark.parametrize("document", PACKETS)
def test_every_file_named_in_the_text_exists(document: str) -> None:
    root = Path(DOCS).parent
    for name in re.findall(r"`([a-z_./]+\.py)`", TEXTS[document]):
        assert (root / name).exists() or (root / "dhtboot" / document / name).exists(), name
