import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.end_to_end.sites import LIMIT_S, PATIENCE_S, bridge, json_lines, laboratory
from tools.netlab import wait_until

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parents[2]


def test_programs_on_one_link_find_one_another_with_no_server_and_no_further_argument() -> None:
    with laboratory() as lab:
        office = lab.subnet("office", "198.51.100.0/24", "2001:db8:1::/64")
        first, second, third = (lab.host(name, office) for name in ("first", "second", "third"))
        avahis = lab.start_avahi(first, second)
        importer = third.z2z("--import", "--key", "office", "--json")
        for host in (first, second):
            bridge(host, "--export", "_daap._tcp", "--key", "office", "--site", host.name)
        started = time.monotonic()
        for avahi in avahis:
            avahi.publish(f"Music of {avahi.host_name()}", "_daap._tcp", 3689)
        both = {"Music of first", "Music of second"}
        wait_until(
            lambda: {event["service"] for event in json_lines(importer.log)} == both,
            PATIENCE_S,
            "both",
            lambda: importer.log,
        )
        took_s = time.monotonic() - started
        print(f"found {took_s:.2f} s after the first was published")
        assert took_s <= LIMIT_S + 1  # one is published after the other
        # The importer is on the link of the services, so that it leaves them to their owners, and says why.
        for event in json_lines(importer.log):
            assert event["event"] == "refused"
            assert "lies in 198.51.100.0/24 of this host" in event["reason"]


PLAIN_USER = """
import os
from tools.netlab import Host, Lab
from tests.end_to_end.sites import bridge, names
assert os.geteuid() != 0
with Lab() as lab:
    here, there = lab.subnet("here", "198.51.100.0/24"), lab.subnet("there", "203.0.113.0/24")
    a, b = lab.host("a", here), lab.host("b", there)
    lab.router("router", here, there)
    avahi_a, avahi_b = lab.start_avahi(a, b)
    words = [os.environ["Z2Z_PYTHON"], "-m", "z2z"]
    exporter = a.popen(*words, "--export", "_daap._tcp", "--key", "office")
    exporter.wait_for("(site ")
    importer = b.popen(*words, "--import", "--key", "office", "--bootstrap", f"{a.ipv4}:27183")
    importer.wait_for("(site ")
    watch = avahi_b.watch("_daap._tcp")
    publication = avahi_a.publish("Tom's Music", "_daap._tcp", 3689, [b"raw=\\xff"])
    visible_s = watch.wait_for(names("Tom's Music"), 12)
    publication.withdraw()
    gone_s = watch.wait_for(names(), 12)
    assert (exporter.stop(), importer.stop()) == (0, 0)
    assert "Traceback" not in exporter.log + importer.log, exporter.log + importer.log
print(f"publish to visible {visible_s:.2f} s after the announcement, withdraw to gone {gone_s:.2f} s")
"""


def test_a_plain_user_carries_a_service_from_link_to_link() -> None:
    python, become = sys.executable, []
    if os.geteuid() == 0:
        # A root's own Python may lie where only root can look; another one finds the packages by the path.
        python = shutil.which("python3.11", path="/usr/bin") or sys.executable
        become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    packages = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    done = subprocess.run(
        [*become, python, "-B", "-c", PLAIN_USER],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(packages), "Z2Z_PYTHON": python, "HOME": "/tmp"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
