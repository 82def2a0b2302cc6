"""What docs/modules.md shows works: its commands, its modules, its tables."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from netserv.cli import main
from netserv.forwarding.ring import ACCEPT, CHANGED, DROP
from netserv.modules.api import COUNT_FLOW, Context, Counted
from netserv.modules.blocks import BLOCKS
from netserv.modules.manifest import Manifest, read_manifest
from netserv.modules.packets import UDP
from tests.netserv.container.runtime.boxes import Box, duplicate, listening
from tests.netserv.container.runtime.conftest import box  # noqa: F401 - a fixture
from tests.netserv.container.runtime.test_servers import fetched
from tests.netserv.modules.test_packets import FOUR, packet_bytes, view

PAGE = (Path(__file__).parents[3] / "docs" / "modules.md").read_text()
COMMANDS = "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).splitlines()
MANIFESTS = [read_manifest(text.encode()) for text in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)]
FILES = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))


def test_the_commands_of_the_page_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(COMMANDS) == 5
    for line in COMMANDS:
        program, *words = shlex.split(line)
        assert program == "netserv"
        assert main(words) == 0, capsys.readouterr().err
    assert "com.example.Hello_0.1.0" in capsys.readouterr().out


def started(box: Box, manifest: Manifest) -> int:  # noqa: F811
    """Run a module of the page; returns its port."""
    file = f"{manifest.entry_module}.py"
    opened, port = listening()
    with opened:
        # The port of the page may be taken here, so the container gets another socket under that number.
        sockets = {(wish.proto, wish.port): duplicate(opened) for wish in manifest.ports}
        more = {"kind": manifest.kind, "entry": manifest.entry, "exports": manifest.exports}
        box.load(1, {file: FILES[file]}, sockets=sockets, filters=(1,) * (manifest.kind != "server"), **more)
        box.loaded(1)
    return port


def test_the_server_greets(box: Box) -> None:  # noqa: F811
    port = started(box, MANIFESTS[0])
    assert fetched(port, "/?name=Al") == "hello, Al\n"
    box.unload(1)


def test_the_packet_module_answers(box: Box) -> None:  # noqa: F811
    box.attach()
    started(box, MANIFESTS[1])
    ping, other = (packet_bytes(FOUR, UDP, payload) for payload in (b"PING 1", b"NEWS"))
    late = bytes([*ping[:8], 1, *ping[9:]])
    (verdict, pong), *rest = box.answers(ping, other, late)
    assert (verdict, pong[28:], pong[12:20]) == (CHANGED, b"PONG 1", ping[16:20] + ping[12:16])
    assert rest == [(ACCEPT, b""), (DROP, b"")]


def test_the_module_that_is_both_counts_and_shows(box: Box) -> None:  # noqa: F811
    box.attach()
    port = started(box, MANIFESTS[2])
    assert box.answers(*[packet_bytes(FOUR, UDP, b"x")] * 3) == [(ACCEPT, b"")] * 3
    assert fetched(port, "/counts") == '{"10.1.0.1": 3}'
    box.unload(1)
    port = started(box, MANIFESTS[2])
    assert fetched(port, "/counts") == '{"10.1.0.1": 3}'
    box.unload(1)


def test_the_tally_adds_what_it_is_shown_and_told() -> None:
    names: dict[str, Any] = {}
    exec(FILES["tally.py"], names)
    tally = names["Tally"]()
    tally.start(None)
    shown = view(packet_bytes(FOUR, UDP, b"x"))
    assert tally.process(shown) is COUNT_FLOW
    tally.counted([Counted(shown.src, shown.dst, 5060, 6000, UDP, shown.ttl, 4, 116)])
    assert tally.packets == {(shown.src, shown.ttl): 5}


def test_the_test_of_the_page_passes(tmp_path: Path) -> None:
    for name in ("guard.py", "test_guard.py"):
        (tmp_path / name).write_text(FILES[name])
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_guard.py"]
    child = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert child.returncode == 0, child.stdout


def table(head: str) -> list[list[str]]:
    """Rows of the table that begins with a line."""
    lines = PAGE.partition(f"\n{head}\n")[2].splitlines()[1:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    assert rows
    return rows


def test_the_table_of_blocks_is_what_there_is() -> None:
    assert {row[0].strip("`"): row[1] for row in table("| block | version | |")} == dict(BLOCKS)
    here = Path(__file__).parents[3] / "netserv" / "modules" / "blocks"
    assert {path.stem for path in here.glob("*.py")} - {"__init__"} == {name.replace("-", "_") for name in BLOCKS}


def test_the_tables_of_manifest_and_context_are_whole() -> None:
    keys = {row[0].strip("`[]") for row in table("| key | | |")}
    assert keys == set(Manifest.__struct_fields__)
    names = {match for row in table("| of `context` | |") for match in re.findall(r"`(\w+)", row[0])}
    members = {name for name in (*Context.__annotations__, *vars(Context)) if not name.startswith("_")}
    assert members - names == {"name", "version"}
