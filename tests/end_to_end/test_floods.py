"""Somebody who knows the word floods it: what is shown already stays, and what its sites export later is found."""

import sys
from pathlib import Path

import pytest

from tests.end_to_end.flooding import SERVICE_TYPE
from tests.end_to_end.sites import LIMIT_S, MDHT_PORT, PATIENCE_S, bridge, command, json_lines, laboratory, names, shows
from tools.netlab import Process
from z2z.admission import NEW_SITES_BURST

pytestmark = pytest.mark.lab
FLOOD = Path(__file__).with_name("flooding.py")
RECORDS = 1_500
"More than there is room for under a key; 150 go in a second."
FLOODED_S = 40.0
GROWTH_MAX_KIB = 32 * 1024
"By which an importer may grow: 1,000 values of half a kilobyte, what they say, and the records that its node holds."


def resident_kib(process: Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def test_real_services_are_found_under_a_word_that_is_flooded() -> None:
    networks = ("198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24")
    with laboratory() as lab:
        links = [lab.subnet(name, network) for name, network in zip("xyz", networks, strict=True)]
        a, flooder, c = (lab.host(name, link) for name, link in zip(("a", "flooder", "c"), links, strict=True))
        lab.router("router", *links)
        avahi_a, avahi_c = lab.start_avahi(a, c)
        importer = bridge(c, "--import", "--key", "office")
        entry = f"{c.ipv4}:{MDHT_PORT}"
        bridge(a, "--export", "_daap._tcp", "--key", "office", "--site", "office", "--bootstrap", entry)
        avahi_a.publish("Before", "_daap._tcp", 1)
        watch = avahi_c.watch("_daap._tcp")
        watch.wait_for(names("Before"), PATIENCE_S)
        before_kib = resident_kib(importer)
        flood = flooder.popen(sys.executable, str(FLOOD), entry, "office", str(RECORDS))
        flood.wait_for("flooded: ", FLOODED_S)
        avahi_a.publish("After", "_daap._tcp", 2)
        took_s = watch.wait_for(shows("After"), LIMIT_S)
        grown_kib = resident_kib(importer) - before_kib
        print(f"seen {took_s:.2f} s after its announcement; the importer has grown by {grown_kib} KiB")
        assert names("Before", "After")(watch.services())
        assert grown_kib < GROWTH_MAX_KIB
        rows = json_lines(command(c, "z2z", "status", "--json").stdout)
        states = [row["state"] for row in rows if row.get("service_type") == SERVICE_TYPE]
        assert states.count("imported") <= NEW_SITES_BURST
        assert states.count("refused") > RECORDS / 3
        assert "perhaps made up" in importer.log
