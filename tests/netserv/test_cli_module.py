"""`netserv module` from a new module to a signed bundle."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from netserv.cli import main
from netserv.modules.bundle import build_bundle, open_bundle
from netserv.signaling.key_files import create_key
from netserv.signaling.nslp.publishers import publisher_line
from tests.netserv.modules.bundles import FILES


@pytest.fixture(autouse=True)
def _in_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    key = create_key(Path("alice.pem"))
    create_key(Path("bob.pem"))
    Path("publishers.toml").write_text(publisher_line("alice", key.public_key) + "\n")


def said(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["module", *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["module", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("kind", ["server", "packet", "both"])
def test_a_new_module_is_built_signed_and_verified(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    new = said(capsys, "new", "com.example.Hello-World", "--kind", kind)
    assert new["files"] == ["hello_world.py", "module.toml"]
    built = said(capsys, "build", "hello_world", "--key", "alice.pem")
    assert built["file"] == "com.example.Hello-World_0.1.0.zip"
    assert said(capsys, "build", "hello_world", "--key", "alice.pem")["digest"] == built["digest"]
    whose = ["--publishers", "publishers.toml", "--user", "alice"]
    assert said(capsys, "verify", built["file"], *whose)["signer"] == built["signer"]
    shown = said(capsys, "show", built["file"])
    assert shown["manifest"]["kind"] == kind
    assert list(shown["files"]) == ["hello_world.py", "module.toml"]


def test_a_bundle_is_signed_apart_from_building_it(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "new", "Hello")
    plain = said(capsys, "build", "hello", "--output", "hello.zip")
    assert plain["signer"] is None
    assert "hello.zip is not signed; `netserv module sign` does it" in refused(capsys, "verify", "hello.zip")
    signed = said(capsys, "sign", "hello.zip", "--key", "bob.pem", "--output", "signed.zip")
    assert said(capsys, "verify", "signed.zip", "--key", "bob.pem")["signer"] == signed["signer"]
    assert "which is no key of its user" in refused(capsys, "verify", "signed.zip", "--key", "alice.pem")
    said(capsys, "sign", "signed.zip", "--key", "alice.pem")
    assert said(capsys, "verify", "signed.zip", "--key", "alice.pem")["signer_checked"] is True
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("action", ["", "new", "build", "sign", "verify", "show"])
def test_every_action_has_help_with_examples(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["module", *action.split(), "--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert f"usage: netserv module {action}".rstrip() in said
    assert not action or f"  netserv module {action} " in said


def test_people_read_what_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["module", "new", "Hello"]) == 0
    assert main(["module", "build", "hello", "--key", "alice.pem"]) == 0
    assert main(["module", "verify", "Hello_0.1.0.zip"]) == 0
    assert main(["module", "show", "Hello_0.1.0.zip"]) == 0
    out = capsys.readouterr().out
    for words in ("hello/module.toml", "next: netserv module build hello", "digest sha256:", "to say whose", "2 files"):
        assert words in out


def test_what_is_for_the_author_alone_stays_out_of_the_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "new", "Hello")
    for name in (".git/config", "tests/test_it.py", "__pycache__/x.pyc", "old.zip", "alice.pem", "x~", "data/.secret"):
        path = Path("hello", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    Path("hello/data/table.txt").write_bytes(b"1")
    built = said(capsys, "build", "hello")
    assert list(said(capsys, "show", built["file"])["files"]) == ["data/table.txt", "hello.py", "module.toml"]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("hello.py", b"class Hello(:\n", "hello.py, line 1: invalid syntax"),
        ("hello.py", b"class Other: pass\n", "hello.py has no Hello at its top level"),
        ("hello.py", b"\0", "hello.py"),
        ("fast.so", b"\x7fELF", "fast.so: native code cannot be loaded in a container"),
        ("netserv.py", b"", "would hide the package `netserv`"),
        ("a b.py", b"", "'a b.py' is no plain name"),
        ("module.toml", b"name = 1", "module.toml: "),
    ],
)
def test_what_no_node_would_load_is_not_built(
    name: str, content: bytes, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "new", "Hello")
    Path("hello", name).write_bytes(content)
    assert why in refused(capsys, "build", "hello")
    assert not list(Path().glob("*.zip"))


def test_links_are_not_followed(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "new", "Hello")
    os.symlink("/etc/passwd", "hello/data.txt")
    assert "hello/data.txt is a link or the like" in refused(capsys, "build", "hello")


def test_clear_errors_name_cause_and_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    assert "as com.example.Hello" in refused(capsys, "new", "a b")
    assert ". has no module.toml; `netserv module new` makes a module" in refused(capsys, "build", ".")
    said(capsys, "new", "Hello")
    assert "hello is there already; name another with --directory" in refused(capsys, "new", "Hello")
    assert "no.zip: No such file or directory" in refused(capsys, "show", "no.zip")
    assert "`netserv key new` makes one" in refused(capsys, "build", "hello", "--key", "no.pem")
    assert "/no/x.zip: No such file or directory" in refused(capsys, "build", "hello", "--output", "/no/x.zip")
    Path("x.zip").write_bytes(b"x")
    assert "x.zip: no zip: too short" in refused(capsys, "show", "x.zip")
    Path("y.zip").write_bytes(build_bundle(FILES))
    assert "--publishers and --user go together" in refused(capsys, "verify", "y.zip", "--user", "alice")
    carol = refused(capsys, "verify", "y.zip", "--publishers", "publishers.toml", "--user", "carol")
    assert "publishers.toml knows no carol" in carol


def test_a_node_opens_what_was_built(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "new", "Hello", "--directory", "a/b")
    built = said(capsys, "build", "a/b", "--output", "hello.zip")
    bundle = open_bundle(Path(built["file"]).read_bytes())
    assert bundle.manifest.entry == "hello:Hello"
