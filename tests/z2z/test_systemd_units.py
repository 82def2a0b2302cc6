import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from z2z.cli import main
from z2z.cli_units import _check_reach, _program
from z2z.errors import LocalProtocolError
from z2z.systemd_units import MARK, NAMES, UnitName, out_of_reach, unit

ANALYZE = shutil.which("systemd-analyze")
EXPOSURE_MAX = 1.5
"What `systemd-analyze security` gives, from 0 (sealed) to 10; programs that speak to a network have 1 at the best."


def analyze(tmp_path: Path, *words: str) -> str:
    assert ANALYZE, "tools/install_system.sh installs it"
    environ = {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    done = subprocess.run([ANALYZE, *words], capture_output=True, text=True, check=False, env=environ)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("user", [False, True])
def test_systemd_finds_nothing_wrong_with_a_unit(tmp_path: Path, name: UnitName, user: bool) -> None:
    program = tmp_path / "a venv; 100%" / name
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = tmp_path / f"{name}.service"
    path.write_text(unit(name, program, user=user))
    analyze(tmp_path, "verify", "--man=no", *(["--user"] if user else []), str(path))
    program.unlink()
    with pytest.raises(AssertionError, match="not executable"):  # so it has found the program in spite of its path
        analyze(tmp_path, "verify", "--man=no", *(["--user"] if user else []), str(path))


@pytest.mark.parametrize("name", NAMES)
def test_the_services_of_a_machine_are_sealed_off(tmp_path: Path, name: UnitName) -> None:
    path = tmp_path / f"{name}.service"
    path.write_text(unit(name, Path("/opt/z2z/bin") / name, user=False))
    said = analyze(tmp_path, "security", "--offline=true", "--no-pager", str(path))
    exposure = float(said.partition("Overall exposure level for")[2].partition(": ")[2].split()[0])
    assert exposure <= EXPOSURE_MAX, said


def test_a_user_has_units_without_what_only_the_system_can_do() -> None:
    text = unit("z2z", Path("/opt/z2z/bin/z2z"), user=True)
    assert "\nExecStart=/opt/z2z/bin/z2z\n" in text
    for word in ("DynamicUser", "Protect", "Private", "network-online"):
        assert word not in text


def test_units_are_written_where_systemd_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main(["install-units", "--user", "z2z.service"]) == 0
    directory = tmp_path / "systemd" / "user"
    (path,) = directory.iterdir()
    assert path.name == "z2z.service"
    assert f"ExecStart={Path(sys.executable).parent / 'z2z'}\n" in path.read_text()
    assert "systemctl --user daemon-reload && systemctl --user enable --now z2z" in capsys.readouterr().out
    path.write_text(MARK + "an earlier version")
    assert main(["install-units", "--user"]) == 0
    assert "ExecStart=" in path.read_text()
    assert sorted(each.name for each in directory.iterdir()) == ["mdht.service", "z2z.service"]


def test_the_unit_of_somebody_else_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "z2z.service").write_text("[Unit]\n")
    assert main(["install-units", "--user", "--directory", str(tmp_path)]) == 1
    assert "was not written by z2z install-units; move it away" in capsys.readouterr().err
    assert (tmp_path / "z2z.service").read_text() == "[Unit]\n"
    (tmp_path / "z2z.service").unlink()
    (tmp_path / "z2z.service").symlink_to("/dev/null")  # as `systemctl mask` does
    assert main(["install-units", "--user", "--directory", str(tmp_path)]) == 1


def test_what_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["install-units", "--user", "--directory", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith(f"z2z: {tmp_path / 'file'}")
    with pytest.raises(SystemExit):
        raise SystemExit(main(["install-units", "avahi"]))
    assert "'avahi' is neither z2z nor mdht" in capsys.readouterr().err


def test_programs_that_a_service_cannot_reach_are_not_installed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "z2z").write_text("")
    assert out_of_reach([Path("/usr/bin/env")]) is None
    assert out_of_reach([Path("/usr/bin/env"), hidden / "z2z"]) is not None
    assert out_of_reach([Path("/home")]) == Path("/home")  # hidden from the service, whatever its mode is
    with pytest.raises(LocalProtocolError, match=r"cannot reach /.*install z2z elsewhere.*--user"):
        _check_reach([hidden / "z2z"], fatal=True)
    _check_reach([hidden / "z2z"], fatal=False)


def test_a_source_that_is_not_installed_has_no_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(LocalProtocolError, match="install the distribution"):
        _program("z2z")
