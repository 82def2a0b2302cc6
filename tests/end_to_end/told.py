"""Programs of a laboratory that are told what to do by lines of JSON, and answer in such lines."""

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.end_to_end.sites import PATIENCE_S, json_lines
from tools.netlab import Host, Process, wait_until

HERE = Path(__file__).parent


class Told:
    """A program that is told what to do by lines of JSON."""

    def __init__(self, process: Process) -> None:
        self.process, self._orders = process, itertools.count(1)

    def events(self, event: str) -> list[dict[str, Any]]:
        whole = self.process.log.rpartition("\n")[0]  # the last line may be half of one
        return [each for each in json_lines(whole) if each.get("event") == event]

    def write(self, **order: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def wait(self, event: str, number: int = 1, **values: Any) -> list[dict[str, Any]]:
        def look() -> list[dict[str, Any]]:
            found = [each for each in self.events(event) if values.items() <= each.items()]
            return found if len(found) >= number else []

        return wait_until(
            look, PATIENCE_S, f"{number} times {event} {values}", lambda: f":\n{self.process.log[-3000:]}"
        )

    def do(self, do: str, **order: Any) -> dict[str, Any]:
        number = next(self._orders)
        self.write(do=do, number_of_order=number, **order)
        return self.wait("done", order=number)[0]

    def kill(self, *others: int) -> None:
        """At once, with other processes."""
        for pid in (*others, self.process.pid):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.end()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(PATIENCE_S)


def told(host: Host, program: str, *arguments: str) -> Told:
    process = host.popen(sys.executable, str(HERE / program), *arguments, stdin=subprocess.PIPE)
    process.wait_for('"ready"')
    return Told(process)
