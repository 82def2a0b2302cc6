import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import z2z
from tests.end_to_end.real_systemd import INIT, Systemd, cgroups, systemd
from tests.end_to_end.sites import PATIENCE_S, json_lines, laboratory
from tools.netlab import Host, wait_until
from z2z.systemd_units import NAMES, unit

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        os.geteuid() != 0 or not INIT.exists() or cgroups() is None,
        reason="a real systemd needs root, the package systemd, and control groups of version 2",
    ),
]
CONFIG = """
export = "_ipp._tcp"
key = "office"
metrics = 9273
bootstrap = "192.0.2.99:27183"
secret-file = "/run/credentials/z2z.service/secret"
"""
DROP_IN = """
[Service]
LoadCredential=secret:/etc/z2z/secret
"""
Z2Z, MDHT = Path(Host.program("z2z")), Path(Host.program("mdht"))

PLACES = [Path(sys.executable).resolve(), Path(z2z.__file__), Z2Z]


def passed() -> list[Path]:
    """The directories above Python, its packages and the programs."""
    return sorted({parent for path in PLACES for parent in path.parents if str(parent) != "/"})


def reached() -> str:
    """What lets a service reach a Python below /root or /tmp, which are no places for one."""
    shown = [f"BindReadOnlyPaths={path}\n" for path in passed() if path.parent in {Path("/tmp"), Path("/var/tmp")}]
    return f"[Service]\nProtectHome=no\n{''.join(shown)}"


def files(directory: Path) -> Path:
    """What an administrator writes."""
    units = directory / "etc/systemd/system"
    for name in NAMES:
        (units / f"{name}.service.d").mkdir(parents=True)
        (units / f"{name}.service.d" / "home.conf").write_text(reached())
        (units / f"{name}.service").write_text(unit(name, Path(Host.program(name)), user=False))
    (units / "z2z.service.d" / "secret.conf").write_text(DROP_IN)
    (directory / "etc/z2z").mkdir()
    (directory / "etc/z2z/z2z.toml").write_text(CONFIG)
    (directory / "etc/z2z/secret").write_text("correct horse battery\n")
    (directory / "etc/z2z/secret").chmod(0o600)
    return directory


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    with laboratory() as lab:
        link = lab.subnet("link")
        a, b = lab.host("a", link), lab.host("b", link)
        a.start_avahi().publish("Printer", "_ipp._tcp", 631)
        with systemd(b, files(tmp_path_factory.mktemp("files")), passed()) as booted:
            yield booted


def shown(machine: Systemd, name: str) -> dict[str, str]:
    words = ("ActiveState", "StatusText", "MainPID", "Result", "ExecMainStatus", "NRestarts")
    lines = machine.run("systemctl", "show", name, f"--property={','.join(words)}").splitlines()
    return dict(line.split("=", 1) for line in lines)


def logged(machine: Systemd, name: str, priorities: str) -> str:
    """What the program itself has said, by its syslog priority."""
    words = (f"--unit={name}", f"--identifier={name}", f"--priority={priorities}", "--output=cat")
    return machine.run("journalctl", "--no-pager", *words)


def metrics(machine: Systemd, port: int) -> str:
    ask = r"exec 3<> /dev/tcp/127.0.0.1/$0; printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3; cat <&3"
    return machine.run("bash", "-c", ask, str(port))


def test_the_service_does_its_work_with_a_user_of_its_own_and_without_privileges(machine: Systemd) -> None:
    machine.run("systemctl", "start", "z2z")  # which waits for READY=1
    now = shown(machine, "z2z")
    assert now["ActiveState"] == "active"
    assert logged(machine, "z2z", "6..6").startswith("exporting _ipp._tcp of eth0 to mdht as office")
    wait_until(lambda: shown(machine, "z2z")["StatusText"] == "export: 1 exported", PATIENCE_S, "status of the service")
    process = Path(f"/proc/{now['MainPID']}")
    state = machine.run("cat", str(process / "status"))
    wait_until(lambda: logged(machine, "z2z", "4..4").startswith("no other node answers"), PATIENCE_S, "warning")
    assert re.search(r"^CapEff:\t0+$", state, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", state, re.MULTILINE)
    assert not re.search(r"^Uid:\t0", state, re.MULTILINE)
    assert machine.run(str(Z2Z), "identity", "export", "--state-dir", "/var/lib/z2z", "--site", "x").endswith(" x\n")
    _, service = json_lines(machine.run(str(Z2Z), "status", "--json"))  # root finds the service by itself
    assert (service["service"], service["state"]) == ("Printer", "exported")
    assert 'role="export",state="exported"} 1' in metrics(machine, 9273)
    assert metrics(machine, 9273).endswith('z2z_metrics_requests_total{code="200"} 2\n')


def test_reload_does_not_end_it_and_stop_is_a_success(machine: Systemd) -> None:
    machine.run("systemctl", "start", "z2z")
    before = shown(machine, "z2z")
    machine.run("systemctl", "reload", "z2z")
    machine.run(str(Z2Z), "status")  # answers, so that the signal has been taken
    assert shown(machine, "z2z")["MainPID"] == before["MainPID"]
    machine.run("systemctl", "stop", "z2z")
    after = shown(machine, "z2z")
    assert (after["ActiveState"], after["Result"], after["ExecMainStatus"]) == ("inactive", "success", "0")
    assert after["NRestarts"] == "0"


def test_wrong_settings_are_said_and_not_tried_again(machine: Systemd) -> None:
    machine.run("sh", "-c", "echo MDHT_OPTIONS=--port 0x > /etc/default/mdht")
    machine.run("systemctl", "start", "mdht", check=False)
    now = shown(machine, "mdht")
    assert (now["ActiveState"], now["ExecMainStatus"], now["NRestarts"]) == ("failed", "2", "0")
    assert "argument --port: '0x'" in logged(machine, "mdht", "0..7")
    machine.run("sh", "-c", "echo MDHT_OPTIONS=--metrics 9274 --subnet lab > /etc/default/mdht")
    machine.run("systemctl", "start", "mdht")
    assert "node of network z2z" in shown(machine, "mdht")["StatusText"]
    assert "network:    z2z" in machine.run(str(MDHT), "status", "--state-dir", "/var/lib/mdht")
    assert "\nmdht_records{" in metrics(machine, 9274)
