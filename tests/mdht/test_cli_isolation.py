import io
import json
from pathlib import Path

import pytest

from mdht.cli import main


def test_a_list_becomes_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "hosts.txt"
    path.write_text("192.0.2.1\n192.0.2.2\n198.51.100.1\nwhat\n")
    assert main(["isolation", str(path)]) == 0
    out, err = capsys.readouterr()
    head, row = out.splitlines()[1:]
    shares = dict(zip(head.split()[1:], row.split()[2:], strict=True))
    assert (shares["/24"], shares["/30"]) == ("33.3%", "33.3%")
    assert "1 lines are no IPv4 address" in err


def test_json_has_every_prefix_length(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("192.0.2.1\n192.0.2.2\n"))
    assert main(["isolation", "-", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ratios"] == [0.0] * 31 + [1.0, 1.0]  # .1 and .2 share 30 bits
    assert (found["name"], found["hosts"]) == ("stdin", 2)


def test_curves_are_drawn(tmp_path: Path) -> None:
    assert main(["isolation", "--synthetic", "hosts", "--hosts", "200", "--out", str(tmp_path / "figures")]) == 0
    drawn = tmp_path / "figures"
    assert (drawn / "isolation.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (drawn / "isolation.svg").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "name a FILE"),
        (["/nonexistent/hosts.txt"], "No such file"),
        (["--synthetic", "edu", "--hosts", "7"], "an even number"),
        (["--synthetic", "edu", "--hosts", "10", "--sample", "11"], "1 to 10 can be"),
        (["--synthetic", "edu", "--hosts", "10", "--out", "/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["isolation", *arguments]) == 1
    err = capsys.readouterr().err
    assert why in err
    assert err.count("\n") == 1
