"""What passes a link of the laboratory: recorded by tcpdump, decoded by tshark, which knows nothing of our code."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from tools.netlab_process import LabError, Process

START_S: Final = 10.0
"Longest wait for tcpdump to listen."
DECODE_S: Final = 300.0
"Longest wait for tshark: an hour of an office is some ten thousand frames, which take a few seconds."
SEARCH_PATH: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def capture_words(interface: str, path: Path, pcap_filter: str) -> list[str]:
    """Return the words that record an interface into a file, each frame as soon as it comes.

    Raises:
        LabError: a program is missing.
    """
    if missing := [name for name in ("tcpdump", "tshark") if shutil.which(name, path=SEARCH_PATH) is None]:
        raise LabError(f"missing Debian packages: {' '.join(missing)}")
    options = ["--immediate-mode", "-U", "-s0", "-Z", "root", "-i", interface, "-w", str(path)]
    return ["tcpdump", *options, *pcap_filter.split()]


class Capture:
    """A recording of one link; made by `Subnet.capture`."""

    def __init__(self, process: Process, path: Path) -> None:
        self.process, self.path = process, path
        process.wait_for("listening on", START_S)

    def stop(self) -> None:
        """End the recording; what has passed until now is in it."""
        if self.process.poll() is None:
            self.process.stop()

    def rows(self, display_filter: str, *fields: str) -> list[tuple[str, ...]]:
        """Return some fields (wireshark-filter(4)) of the frames that match, empty text for one that a frame lacks."""
        chosen = [word for field in fields for word in ("-e", field)]
        lines = self._tshark("-Y", display_filter, "-T", "fields", "-E", "occurrence=f", *chosen).splitlines()
        return [tuple(line.split("\t")) for line in lines]

    def frames(self, display_filter: str) -> list[dict[str, Any]]:
        """Return the frames that match, as tshark decodes them; fields that come twice are lists."""
        frames = json.loads(self._tshark("-Y", display_filter, "-T", "json", "--no-duplicate-keys") or "[]")
        return [frame["_source"]["layers"] for frame in frames]

    def _tshark(self, *words: str) -> str:
        self.stop()
        # Without name resolution: the laboratory has no name server, and a file of the user's must not change results.
        done = subprocess.run(
            ["tshark", "-n", "-r", str(self.path), *words],
            capture_output=True,
            text=True,
            timeout=DECODE_S,
            check=False,
            env={**os.environ, "PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8"},
        )
        if done.returncode != 0:
            raise LabError(f"tshark cannot read {self.path.name}: {done.stderr.strip()}")
        return done.stdout
