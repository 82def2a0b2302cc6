import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from netserv_discovery.link_text import SERVICE_TYPE
from tests.end_to_end import node_records
from tests.end_to_end.browser import PATIENCE_S, Browser
from tests.end_to_end.sites import MDHT_PORT, laboratory, run_mdht
from tools.netlab import Avahi, Host, Process, Publication, wait_until

pytestmark = pytest.mark.lab
URL = "http://127.0.0.1:8470/"
FIGURES = Path(__file__).parents[2] / "docs" / "figures"
FOUND_S: Final = 2.0
"A node that begins to announce itself is on the page after at most this time."
PYTHON_S: Final = 6.0
"For its program to start, on a machine that is busy with other laboratories."
NODES: list[dict[str, Any]] = [
    {"name": "edge-newyork", "place": (40.71, -74.01), "blocks": {"ffmpeg": "5.1", "geoip": "1.0"}, "load": 3,
     "operator": "Example Net", "modules": {"NetServ.apps.MediaRelay": "1.2.0"}},
    {"name": "edge-berlin", "place": (52.52, 13.4), "blocks": {"ffmpeg": "6.0"}, "load": 7, "operator": "Nordlicht"},
    {"name": "edge-paris", "place": (48.86, 2.35), "blocks": {"ffmpeg": "5.1", "sip": "2.0"}, "load": 0,
     "operator": "Nordlicht"},
    {"name": "edge-singapore", "place": (1.35, 103.82), "blocks": {"sip": "2.0", "turn": "1.1"}, "load": 9,
     "operator": "Strait One"},
    {"name": "edge-saopaulo", "place": (-23.55, -46.63), "blocks": {"geoip": "1.2"}, "load": 1, "operator": "Sul"},
    {"name": "edge-sydney", "place": (-33.87, 151.21), "blocks": {"turn": "1.1"}, "load": 4, "operator": "Strait One"},
    {"name": "edge-nowhere", "place": None, "blocks": {"ffmpeg": "4.4"}, "load": 5, "operator": "Quiet"},
]  # fmt: skip
HOSTILE = "<img src=x onerror=bad()>"


@dataclass(frozen=True)
class World:
    """Host a, with the console and a browser, and b of one subnet; c of another; two more with one host each."""

    a: Host
    avahi_a: Avahi
    avahi_c: Avahi
    music: Publication
    "A service of c that a imports."
    browser: Browser


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with laboratory() as lab:
        here, there = lab.subnet("here", "198.51.100.0/24", "2001:db8:1::/64"), lab.subnet("there", "203.0.113.0/24")
        others = [lab.subnet(f"other{n}", f"192.0.2.{16 * n}/28") for n in (1, 2)]
        a, b, c = lab.host("a", here), lab.host("b", here), lab.host("c", there)
        far = [lab.host(f"far{n}", subnet) for n, subnet in enumerate(others)]
        lab.router("router", here, there, *others)
        avahi_a, avahi_c = lab.start_avahi(a, c)
        # All at once, as each takes a second or two to start; who comes before its entry point tries again.
        entry = f"{a.ipv4}:{MDHT_PORT}"
        first = run_mdht(a, wait=False)
        nodes = [first, *(run_mdht(host, "--bootstrap", entry, wait=False) for host in (b, c, *far))]
        music = avahi_c.publish("Tom's Music", "_daap._tcp", 3689)
        avahi_a.publish("Scanner", "_ipp._tcp", 631)
        for process in nodes:
            process.wait_for("host ")
        serving = console(a)
        c.z2z("--export", "_daap._tcp", "--key", "office", "--site", "branch", "--bootstrap", entry)
        a.z2z("--import", "--export", "_ipp._tcp", "--key", "office", "--site", "headquarters")
        (c.directory / "nodes").write_text("\n".join(json.dumps(each) for each in NODES))
        advertise(b, "edge-here", "--block", "ffmpeg=5.1", "--block", "http=1.0", "--location", "40.73,-73.99")
        c.popen(sys.executable, node_records.__file__, "nodes", env={"PYTHONPATH": str(FIGURES.parents[1])})
        with Browser(a, flags=("--host-resolver-rules=MAP rebound.example 127.0.0.1",)) as browser:
            serving.wait_for(f"console at {URL}")
            yield World(a, avahi_a, avahi_c, music, browser)


@pytest.fixture
def page(world: World) -> Iterator[Browser]:
    """The page, opened anew; it must report nothing, and stay."""
    browser = world.browser
    browser.problems.clear()
    browser.open(URL)
    browser.wait(shows("edge-nowhere"), "nodes")
    browser.ask("window.isTheSame = true")
    yield browser
    assert browser.ask("window.isTheSame") is True, "all that without loading the page again"
    assert browser.problems == []


def console(host: Host) -> Process:
    """Start the console of a host."""
    return host.popen(Host.program("netserv-discovery"), "console", "--near", "40.71,-74.01", "--block", "ffmpeg")


def advertise(host: Host, name: str, *arguments: str) -> Process:
    """Start to advertise a node, on its link and in the DHT."""
    return host.popen(Host.program("netserv-discovery"), "advertise", "--node-id", name, *arguments)


def shows(text: str, element: str = "") -> str:
    where = f"document.getElementById('{element}')" if element else "document.body"
    return f"{where}.innerText.includes({json.dumps(text)})"


def row(browser: Browser, table: str, text: str) -> str:
    """The text of the row of a table that has this text."""
    rows = f"[...document.querySelectorAll('#{table} tbody tr')].map((each) => each.innerText)"
    return str(browser.ask(f"{rows}.find((each) => each.includes({json.dumps(text)})) ?? ''"))


def has(browser: Browser, table: str, text: str, *words: str) -> None:
    """Wait until the row of a table that has this text has these words as well."""
    wait_until(
        lambda: all(word in row(browser, table, text) for word in words),
        PATIENCE_S,
        f"{text} with {words}",
        lambda: f":\n{row(browser, table, text)}",
    )


def figure(browser: Browser, name: str) -> None:
    """Keep a picture for the documentation, where that is wanted."""
    if os.environ.get("CONSOLE_FIGURES"):
        time.sleep(3.5)  # until nothing is marked as new any more
        path = FIGURES / f"console-{name}.png"
        browser.screenshot(path)
        from PIL import Image  # noqa: PLC0415 - of the extra `figures`

        Image.open(path).convert("RGB").quantize(256, kmeans=2).save(path, optimize=True)  # half its size


def test_nodes_subnets_ring_and_services_are_on_the_page(world: World, page: Browser) -> None:
    for said in NODES:
        page.wait(shows(said["name"]), said["name"])
    has(page, "node-table", "edge-here", "ffmpeg 5.1", "http 1.0", "2.8 km", "link eth0, DHT", "198.51.100.3:270")
    has(page, "node-table", "edge-berlin", "ffmpeg 6.0", "70 %", "6,385 km", "DHT", "203.0.113.11:270")
    has(page, "node-table", "edge-nowhere", "ffmpeg 4.4", "50 %", "DHT")
    assert page.ask("document.querySelectorAll('#map .dot').length") == 6, "two nodes in New York are one dot"
    page.wait("document.querySelectorAll('#ring .other').length === 3", "neighbours on the ring")
    assert page.ask(shows("203.0.113.2:27183", "ring-table"))
    page.wait("document.querySelectorAll('#ring .member').length === 3", "hosts: a's two programs, and b")
    has(page, "service-table", "Tom's Music", "_daap._tcp", "↓ import", "imported", "from branch", "203.0.113.2:3689")
    has(page, "service-table", "↑ export", "Scanner", "exported", "office")
    page.ask("[...document.querySelectorAll('button.link')].find((each) => each.innerText === 'edge-here').click()")
    page.wait(shows("by the node's own key", "node-details"), "details")
    for scheme in ("dark", "light"):
        page.scheme(scheme)
        figure(page, scheme)


def test_changes_come_by_themselves(world: World, page: Browser) -> None:
    started = time.monotonic()
    late = advertise(world.a, "edge-late", "--no-dht")
    page.wait(shows("edge-late", "node-table"), "new node", FOUND_S + PYTHON_S)
    print(f"a node is on the page {time.monotonic() - started:.2f} s after its program was started")
    started = time.monotonic()
    assert late.stop() == 0
    page.wait(f"!{shows('edge-late', 'node-table')}", "the end of a node that has ended", FOUND_S)
    print(f"and gone {time.monotonic() - started:.2f} s after SIGTERM")
    world.music.withdraw()
    page.wait(f"!{shows('Music', 'service-table')}", "the end of a withdrawn service")
    for news in (
        "NetServ node edge-late found on eth0",
        "NetServ node edge-late gone on eth0",
        "import of Tom's Music",
    ):
        assert page.ask(shows(news, "changes")), page.text()


def test_names_of_the_network_are_texts_and_never_markup(world: World, page: Browser) -> None:
    txt = [f"id={HOSTILE}", f"blocks={HOSTILE}", f"op={HOSTILE}"]
    published = world.avahi_a.publish(HOSTILE, SERVICE_TYPE, 270, txt, [f"_{HOSTILE}._sub.{SERVICE_TYPE}"])
    service = world.avahi_c.publish(f"{HOSTILE} music", "_daap._tcp", 3690)
    page.wait(shows(HOSTILE, "node-table"), "hostile node")
    page.wait(shows(f"{HOSTILE} music", "service-table"), "hostile service")
    page.ask(f"[...document.querySelectorAll('button.link')].find((each) => each.innerText === {HOSTILE!r}).click()")
    page.wait(shows(f"id={HOSTILE}", "node-details"), "details")
    assert page.ask("document.images.length") == 0
    assert page.ask("typeof window.bad") == "undefined"
    published.withdraw()
    service.withdraw()


def test_the_page_can_be_used_by_keyboard_and_is_named_for_those_who_hear_it(page: Browser) -> None:
    assert [each for each in page.names() if not each[1]] == []
    assert {"Search", "Block", "Theme", "Zoom in", "edge-berlin", "Load"} <= {name for _, name in page.names()}
    seen = []
    for _ in range(60):
        page.press("Tab", 9)
        seen.append(page.ask("document.activeElement.innerText"))
        if seen[-1] == "edge-berlin":
            break
    page.press("Enter", 13)
    page.wait(shows("Nordlicht", "node-details"), f"details by keyboard after {seen}")
    assert page.ask("document.activeElement.innerText") == "edge-berlin", "focus stays where it was"


def test_a_console_that_has_ended_is_found_again_by_its_page(world: World, page: Browser) -> None:
    (serving,) = (each for each in world.a.lab.processes if "console at" in each.log and each.poll() is None)
    serving.kill()
    serving.wait()
    page.wait(shows("not connected", "live"), "word of the end")
    console(world.a)
    page.wait("document.getElementById('live').innerText === 'live'", "the page back by itself")
    page.problems[:] = [each for each in page.problems if "net::ERR_" not in each]


def test_pages_of_other_sites_read_nothing(world: World) -> None:
    console(world.a).wait_for("console at")
    script = """<body><iframe src="URL"></iframe><script>
        const stream = new EventSource("URLevents");
        const event = new Promise((read, refused) => Object.assign(stream, {onmessage: read, onerror: refused}));
        const tries = [fetch("URLstate"), fetch("URLstate", {mode: "no-cors"}), event];
        window.read = Promise.allSettled(tries).then((all) => all.map((each) => each.status).join());
        </script>"""
    site = world.a.directory / "site"
    site.mkdir()
    (site / "index.html").write_text(script.replace("URL", URL))
    words = (sys.executable, "-m", "http.server", "8000", "--bind", "127.0.0.1", "--directory", str(site))
    world.a.popen(*words).wait_for("Serving HTTP")
    world.browser.open("http://127.0.0.1:8000/")
    assert world.browser.ask("window.read") == "rejected,rejected,rejected"
    world.browser.open("http://rebound.example:8470/")
    assert world.browser.text().strip() == "421: ask for it by its own name, 127.0.0.1:8470"
