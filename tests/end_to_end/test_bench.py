"""`netserv bench` as people run it, for a tenth of a second each: real planes, containers and modules."""

import csv
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from netserv.bench import orders, scene
from netserv.bench.configurations import CONFIGURATIONS
from netserv.forwarding.base import PLANES

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can put up the walls of a container"),
]
PATIENCE_S = 30.0


def words(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "netserv", "bench", "--rounds", "1", "--seconds", "0.1", *arguments]


def children(pid: int) -> set[int]:
    """A process, and all below it."""
    found = {pid}
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it has just ended
            for child in path.read_text().split():
                found |= children(int(child))
    return found


def left(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}").exists()}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="ascii") as file:
        return list(csv.DictReader(file))


@pytest.mark.heavy
def test_all_configurations_delays_and_containers_are_measured_and_nothing_is_left(tmp_path: Path) -> None:
    done = subprocess.run(
        words("rates", "delay", "containers", "--plane", "both", "--containers", "1,12", "--out", str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    expected = {
        (each.name, plane, str(size))
        for each in CONFIGURATIONS
        for plane in ([plane for plane in PLANES if plane in each.planes] if each.module else ["none"])
        for size in each.sizes
    }
    measured = rows(tmp_path / "rates.csv")
    assert {(row["configuration"], row["plane"], row["bytes"]) for row in measured} == expected
    assert all(float(row["packets_per_s"]) > 0 and float(row["ratio"]) > 0 for row in measured)
    delays = {(row["configuration"], row["plane"], row["bytes"]) for row in rows(tmp_path / "delays.csv")}
    assert delays == {key for key in expected if key[0] not in {"plain router", "not asked for"}}
    crowds = rows(tmp_path / "containers.csv")
    assert [(row["plane"], row["containers"]) for row in crowds] == [
        (plane, n) for plane in PLANES for n in ("1", "12")
    ]
    assert all(float(row["lost"]) == 0 for row in crowds), "somebody has not been woken"
    assert all(0 < float(row["mb_mean"]) < 64 for row in crowds)
    assert "6 KeepAlive" in done.stdout


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="the sender has a processor of its own")
def test_a_sender_by_the_clock_is_on_one_processor_and_the_router_on_another() -> None:
    async def offered() -> orders.Offered:
        where = scene.apart()
        async with scene.plain_scene(where, ruled=True) as path:
            for thread in scene.pollers():
                assert os.sched_getaffinity(thread) == {where.router}
            order = orders.Offer(seconds=0.06, bytes=64, notify=False, packets_per_s=20_000.0)
            return await path.ends.ask(order, orders.Offered)

    said = trio.run(offered)
    assert 100 < said.sent <= 1_300
    assert said.sent / said.seconds <= 20_100
    assert 0 < said.came <= said.sent


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 1), (signal.SIGKILL, -9)])
def test_a_signal_ends_all_of_it(number: signal.Signals, status: int) -> None:
    command = words("containers", "--plane", "netfilter", "--containers", "50")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while len(found := children(process.pid)) < 15 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert len(found) >= 15, "no containers have been started"
            process.send_signal(number)
            assert process.wait(PATIENCE_S) == status
        finally:
            process.kill()
    deadline = time.monotonic() + PATIENCE_S
    while left(found) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left(found)
