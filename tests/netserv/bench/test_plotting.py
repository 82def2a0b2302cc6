import pytest

from netserv.bench.results import Found
from tests.netserv.bench.rows import FOUND

plotting = pytest.importorskip("netserv.bench.plotting", exc_type=Exception)


def test_each_kind_of_measurement_has_its_figure_as_png_and_svg() -> None:
    files = plotting.figures(FOUND)
    assert sorted(files) == [f"figure-6.{number}.{kind}" for number in (7, 8, 9) for kind in ("png", "svg")]
    assert all(data.startswith(b"\x89PNG" if name.endswith("png") else b"<?xml") for name, data in files.items())
    assert plotting.figures(FOUND) == files


def test_what_was_not_measured_has_no_figure() -> None:
    assert sorted(plotting.figures(Found(delays=FOUND.delays))) == ["figure-6.8.png", "figure-6.8.svg"]
    assert plotting.figures(Found()) == {}
