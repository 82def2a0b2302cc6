import base64
import json
import os
import time
from collections.abc import Iterator

import pytest

from mdht.signing import SigningKey
from tests.end_to_end.hostile import SERVICE_TYPE, beyond_the_limits, damaged, envelope, item, line
from tests.end_to_end.sites import (
    LIMIT_S,
    PATIENCE_S,
    TwoSites,
    json_lines,
    names,
    resolved,
    two_sites,
    wait_line,
)
from tools.netlab import Host, Process, wait_until
from z2z.stream import StreamEvent, encode_line

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def sites() -> Iterator[TwoSites]:
    with two_sites() as sites:
        yield sites


def pipe(sites: TwoSites, service_type: str, *options: str) -> tuple[Process, Process]:
    """Run `z2z --export:stream TYPE | z2z --import:stream` with a host at each end of the pipe."""
    reading, writing = os.pipe()
    with open(reading, "rb") as stdin, open(writing, "wb") as stdout:
        program = Host.program("z2z")
        exporter = sites.a.popen(program, "--export:stream", service_type, *options, stdout=stdout)
        importer = sites.b.popen(program, "--import:stream", stdin=stdin)
    wait_line(exporter, "(site ")
    wait_line(importer, "(site ")
    return exporter, importer


def feed(sites: TwoSites, *options: str) -> tuple[Process, int]:
    """Start an importer of a stream that the test writes; return it with the descriptor to write to."""
    reading, writing = os.pipe()
    with open(reading, "rb") as stdin:
        importer = sites.b.popen(Host.program("z2z"), "--import:stream", *options, stdin=stdin)
    wait_line(importer, "(site ")
    return importer, writing


@pytest.fixture(scope="module")
def recording(sites: TwoSites) -> bytes:
    """The stream of one service, as `z2z --export:stream --once > FILE` writes it."""
    publication = sites.avahi_a.publish("Recorded", "_record._tcp", 80, [b"a=b"])
    path = sites.a.directory / "services.txt"
    with path.open("wb") as file:
        process = sites.a.popen(Host.program("z2z"), "--export:stream", "_record._tcp", "--once", stdout=file)
        assert process.wait(20) == 0, process.log
    publication.withdraw()
    return path.read_bytes()


def test_a_pipe_is_a_complete_bridge(sites: TwoSites) -> None:
    exporter, importer = pipe(sites, "_pipe._tcp", "--key", "ignored here")
    watch = sites.avahi_b.watch("_pipe._tcp")
    started = time.monotonic()
    publication = sites.avahi_a.publish("Through the pipe", "_pipe._tcp", 80, [b"raw=\xff\x01"])
    watch.wait_for(bool, PATIENCE_S)
    visible_s = time.monotonic() - started
    assert {(s.instance, s.port, s.txt_strings) for s in watch.services()} == {
        ("Through the pipe", 80, (b"raw=\xff\x01",))
    }
    started = time.monotonic()
    publication.withdraw()
    watch.wait_for(names(), PATIENCE_S)
    gone_s = time.monotonic() - started
    print(f"publish to visible {visible_s:.2f} s, withdraw to gone {gone_s:.2f} s")
    assert visible_s <= LIMIT_S
    assert gone_s <= LIMIT_S
    again = sites.avahi_a.publish("Again", "_pipe._tcp", 80)
    watch.wait_for(names("Again"), PATIENCE_S)
    exporter.kill()  # its end of the pipe closes without a word
    assert importer.wait(PATIENCE_S) == 0
    assert "z2z: end of the stream: ending" in importer.log.splitlines()
    watch.wait_for(names(), LIMIT_S)
    again.withdraw()


def test_an_exporter_whose_reader_leaves_ends_with_one_line(sites: TwoSites) -> None:
    exporter, importer = pipe(sites, "_gone._tcp")
    importer.kill()
    publication = sites.avahi_a.publish("Nobody listens", "_gone._tcp", 80)
    assert exporter.wait(PATIENCE_S) == 1
    assert [said for said in exporter.log.splitlines() if said.startswith("z2z: ")] == [
        "z2z: the reader of the stream is gone: ending"
    ]
    publication.withdraw()


def test_a_file_is_shown_until_the_end_of_the_program(sites: TwoSites, recording: bytes) -> None:
    first = json_lines(recording.decode())[0]
    assert (first["event"], first["service"], first["service_type"]) == ("+", "Recorded", "_record._tcp")
    path = sites.b.directory / "services.txt"
    path.write_bytes(recording)
    watch = sites.avahi_b.watch("_record._tcp")
    with path.open("rb") as stdin:
        importer = sites.b.popen(Host.program("z2z"), "--import:stream", stdin=stdin)
    watch.wait_for(names("Recorded"), PATIENCE_S)
    wait_line(importer, "end of the file")
    assert importer.stop() == 0
    watch.wait_for(names(), LIMIT_S)


def test_a_line_that_is_no_event_is_one_warning_and_the_rest_goes_on(sites: TwoSites, recording: bytes) -> None:
    good = recording.splitlines()[0]
    importer, pipe_end = feed(sites)
    watch = sites.avahi_b.watch("_record._tcp")
    tampered = json.loads(good)
    tampered["value"] = base64.b64encode(damaged(base64.b64decode(tampered["value"]))).decode()
    tampered["name"] = "00" * 20
    bad = (
        b"this is not JSON",
        b"{}",
        b"[1, 2",
        b'{"event":"*"}',
        b"\xff\xfe\x00",
        b"x" * 100_000,
        json.dumps(tampered).encode(),
    )
    with open(pipe_end, "wb") as stream:
        stream.writelines(bytes_ + b"\n" for bytes_ in (*bad, json.dumps(tampered).encode()))
        stream.write(good + b"\n")
        stream.flush()
        watch.wait_for(names("Recorded"), PATIENCE_S)
        lines = [said for said in importer.log.splitlines() if said.startswith("z2z: ")]
        assert len(lines) == 6, importer.log
        for number, said in enumerate(lines, 1):
            assert said.startswith(f"z2z: standard input, line {number}: "), said
        assert "not JSON" in lines[0]
        refused = [said for said in importer.log.splitlines() if said.startswith("refused ")]
        assert len(refused) == 1, importer.log
        assert "signature" in refused[0]
    assert importer.wait(PATIENCE_S) == 0
    watch.wait_for(names(), LIMIT_S)


def test_each_value_beyond_the_limits_is_refused_in_one_line(sites: TwoSites, recording: bytes) -> None:
    signer = SigningKey.generate()
    hostile = beyond_the_limits(signer)
    importer, pipe_end = feed(sites)
    watch, hostile_watch = sites.avahi_b.watch("_record._tcp"), sites.avahi_b.watch(SERVICE_TYPE)
    with open(pipe_end, "wb") as stream:
        stream.writelines(line(value, bytes([number]) * 20, signer) for number, value in enumerate(hostile.values()))
        stream.write(recording)
        stream.flush()
        watch.wait_for(names("Recorded"), PATIENCE_S)
        complaints = [
            said for said in importer.log.splitlines() if said.startswith(("refused ", "z2z: standard input"))
        ]
        assert len(complaints) == len(hostile), importer.log
        for what, said in (("64", "64"), ("port 0", "port 0"), ("TXT", "TXT"), ("forged", "signature")):
            assert any(said in complaint for complaint in complaints), (what, complaints)
        assert hostile_watch.services() == []
    assert importer.wait(PATIENCE_S) == 0


def test_800_services_are_shown_and_what_is_beyond_is_named(sites: TwoSites) -> None:
    count, shown = 820, 800
    signer = SigningKey.generate()
    importer, writing = feed(sites)
    with open(writing, "wb") as stream:
        for number in range(count):
            service = item(instance=b"Service %04d" % number, service_type="_many._tcp", host=b"h%d" % number)
            value = envelope(service, signer)
            event = StreamEvent(
                event="+", key=bytes(20), writer=signer.public_key, name=b"%d" % number, value=value, lease_s=600
            )
            stream.write(encode_line(event))
        stream.flush()
        written = time.monotonic()
        wait_until(lambda: len(resolved(sites.avahi_b.browse("_many._tcp"))) >= shown, 3 * PATIENCE_S, "800 services")
        print(f"{shown} services are seen by a browser {time.monotonic() - written:.1f} s after they came")
        refused = [each for each in importer.log.splitlines() if "shows 800 imports already" in each]
        assert len(refused) == count - shown
        assert "Service 0800" in refused[0]
    assert importer.stop() == 0
