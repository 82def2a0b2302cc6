import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from netserv import cli
from netserv.systemd_unit import unit

ANALYZE = shutil.which("systemd-analyze")


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is missing: apt-get install systemd")
def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "netserv.service"
    path.write_text(unit(Path(sys.executable).parent / "netserv"))
    done = subprocess.run([str(ANALYZE), "verify", "--man=no", path], capture_output=True, text=True, check=False)
    assert "netserv.service" not in done.stderr, done.stderr


def test_a_strange_path_is_one_word() -> None:
    text = unit(Path("/opt/net serv/100%/netserv"), Path("/etc/a;b.toml"))
    assert 'ExecStart="/opt/net serv/100%%/netserv" run "/etc/a;b.toml"\n' in text


def test_containers_are_not_forbidden(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "unit"]) == 0
    text = capsys.readouterr().out
    assert "Delegate=yes" in text
    assert not any(word in text for word in ("RestrictNamespaces", "PrivateDevices", "SystemCallFilter", "NoNewPriv"))
    assert f"ExecStart={Path(sys.executable).absolute().parent}/netserv run" in text
