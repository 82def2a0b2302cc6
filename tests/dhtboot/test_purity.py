"""The cores do no I/O and take time and chance as arguments; here the source itself is looked at."""

import ast
import re
from pathlib import Path

import pytest

import dhtboot

ROOT = Path(dhtboot.__file__).parent
SHELL = re.compile(r"(udp|cli|cli_\w+|__main__|scenario|huge_pages|live|jobs(_dask)?|results(_arrow)?|plotting)\.py")
CORES = [path for path in sorted(ROOT.rglob("*.py")) if not SHELL.fullmatch(path.name)]
FORBIDDEN = {
    "asyncio",
    "datetime",
    "os",
    "secrets",
    "select",
    "socket",
    "subprocess",
    "threading",
    "time",
    "trio",
    "uuid",
}


def imports_of(tree: ast.AST) -> set[tuple[str, str]]:
    """(module, name) of every import; the name is empty for a whole module."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(alias.name.split(".")[0], "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {((node.module or "").split(".")[0], alias.name) for alias in node.names}
    return found


def test_there_are_cores_to_look_at() -> None:
    assert {"node.py", "lookup.py", "rpc.py", "bootstrap.py"} <= {path.name for path in CORES}


@pytest.mark.parametrize("path", CORES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_core_reads_no_clock_no_chance_and_no_network(path: Path) -> None:
    imports = imports_of(ast.parse(path.read_text()))
    assert not {module for module, _name in imports} & FORBIDDEN
    assert {name for module, name in imports if module == "random"} <= {"Random"}, "only the type, to be handed in"


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_stays_readable(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 45, f"{path.name}: {node.name}"
