import pytest

from tools import idle_office
from tools.idle_office import Outcome, Row, devices_for, main, measure, table

ROW = Row(
    bridge="z2z",
    browsing=False,
    link="first",
    sender="devices",
    mdns_packets=3,
    mdns_bytes=600,
    other_packets=0,
    other_bytes=0,
    unicast_packets=0,
)


@pytest.mark.lab
def test_idle_office_counts_both_bridges_by_sender() -> None:
    outcome = measure(("z2z", "reflector"), seconds=4.0, services=2, settle_s=0.5, browsing=(True,))
    assert outcome.visible == {"z2z, browsing": 2, "reflector, browsing": 2}
    found = {(row.bridge, row.link, row.sender): row for row in outcome.rows}
    assert not any(row.sender == "unknown" for row in outcome.rows)
    # What the importer has to say may be known to the browser already.
    asked = found["z2z", "second", "browser"]
    assert asked.mdns_packets > 0
    assert asked.mdns_bytes > asked.mdns_packets * 60
    assert found["z2z", "second", "importer"].other_packets > 0
    assert found["z2z", "first", "exporter"].other_packets > 0
    # The browser on the second link knows the answers already; the first link hears its questions.
    assert found["reflector", "first", "reflector"].mdns_packets > 0
    assert ("z2z", "first", "reflector") not in found


def test_table_scales_to_an_hour_and_sums_each_link() -> None:
    outcome = Outcome(seconds=360.0, services=10, devices=5, rows=[ROW], visible={"z2z": 10})
    lines = list(table(outcome))
    assert [line.split() for line in lines if line.startswith("z2z")] == [
        ["z2z", "-", "first", "devices", "30", "6000", "0", "0", "0"],
        ["z2z", "-", "first", "all", "30", "6000", "0", "0", "0"],
    ]
    assert lines[-1].endswith("10 (z2z)")


@pytest.mark.parametrize(("services", "devices"), [(1, 1), (2, 1), (10, 5), (11, 6)])
def test_each_device_has_two_services(services: int, devices: int) -> None:
    assert devices_for(services) == devices


@pytest.mark.parametrize(
    "words", [["--hours", "0"], ["--minutes", "nan"], ["--minutes", "x"], ["--services", "0"], ["--services", "201"]]
)
def test_lengths_and_numbers_are_bounded(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        idle_office._parser().parse_args(words)
    assert "is no number" in capsys.readouterr().err


def test_directory_for_captures_that_cannot_be_made_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--captures", "/dev/null/here"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
