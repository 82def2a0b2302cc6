import math
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.location import (
    CELLS_AROUND,
    EARTH_KM,
    SIZES,
    Location,
    cell_of,
    cells_around,
    distance_km,
    mesh_degrees,
    parse_location,
)
from tests.netserv_discovery.strategies import locations
from tests.netserv_discovery.world import anywhere

NEW_YORK, LONDON, SYDNEY = Location(40.71, -74.01), Location(51.51, -0.13), Location(-33.87, 151.21)
HALF_KM = math.pi * EARTH_KM


@pytest.mark.parametrize(
    ("a", "b", "km"),
    [
        (NEW_YORK, LONDON, 5_570),
        (LONDON, SYDNEY, 16_993),
        (Location(90, 0), Location(-90, 0), HALF_KM),
        (Location(0, 179.9), Location(0, -179.9), 22.24),
        (Location(89, 0), Location(89, 180), 222.4),
        (NEW_YORK, NEW_YORK, 0),
    ],
)
def test_distances_are_those_of_the_great_circle(a, b, km):
    assert distance_km(a, b) == pytest.approx(km, rel=2e-3)
    assert distance_km(b, a) == distance_km(a, b)


@given(locations, locations, locations)
@example(Location(0, 0), Location(0, 179.99999), Location(1e-7, -180))
def test_distances_obey_the_triangle(a, b, c):
    assert 0 <= distance_km(a, b) <= HALF_KM + 1e-6
    # Between antipodes a sine of 1 is inverted, whose last digit is worth 0.2 m.
    assert distance_km(a, c) <= distance_km(a, b) + distance_km(b, c) + 1e-3


@pytest.mark.parametrize(
    ("location", "cell"),
    [
        # Published examples: the one of geohash.org, and those of Wikipedia's page (57.64911,10.40744 is u4pruydqqvj).
        (Location(57.64911, 10.40744), "u4pru"),
        (Location(42.605, -5.603), "ezs42"),
        (Location(48.669, -4.329), "gbsuv"),
        (Location(-90, -180), "h0000"),  # a pole has longitude 0
        (Location(89.99, 179.99), "zzzzz"),
        (Location(0, 180), "80000"),
    ],
)
def test_cells_have_the_names_of_geohash(location, cell):
    for size in SIZES:
        assert cell_of(location, size) == cell[:size]


def _nearby(rng: Random, at: Location, km: float) -> Location:
    """A place so far from another one, in any direction."""
    bearing, arc = rng.uniform(0, 2 * math.pi), km / EARTH_KM
    phi, lam = math.radians(at.latitude), math.radians(at.longitude)
    other = math.asin(math.sin(phi) * math.cos(arc) + math.cos(phi) * math.sin(arc) * math.cos(bearing))
    apart = math.atan2(
        math.sin(bearing) * math.sin(arc) * math.cos(phi), math.cos(arc) - math.sin(phi) * math.sin(other)
    )
    return Location(math.degrees(other), (math.degrees(lam + apart) + 180) % 360 - 180)


def _places(rng: Random) -> list[Location]:
    edges = [Location(90, 0), Location(-90, 0), Location(0, 180), Location(0, 0), Location(45, -135), Location(-45, 90)]
    polar = [Location(rng.choice((-1, 1)) * rng.uniform(80, 90), rng.uniform(-180, 180)) for _ in range(30)]
    date_line = [Location(rng.uniform(-89, 89), rng.choice((-1, 1)) * rng.uniform(179.5, 180)) for _ in range(30)]
    return [*edges, *polar, *date_line, *(anywhere(rng) for _ in range(60))]


@pytest.mark.parametrize("size", SIZES)
def test_all_that_is_nearer_than_covered_is_in_the_cells_around(size):
    rng = Random(size)
    beyond = 0
    for at in _places(rng):
        around = cells_around(at, size)
        assert around.cells[0] == cell_of(at, size)
        assert len(set(around.cells)) == CELLS_AROUND
        for _ in range(60):
            other = _nearby(rng, at, rng.uniform(0, min(around.covered_km * 1.5, HALF_KM)))
            inside = cell_of(other, size) in around.cells
            assert inside or distance_km(at, other) >= around.covered_km - 1e-6, (at, other)
            beyond += not inside
    assert beyond > 0, "the radius is no wider than it has to be: some that are farther are outside"


@pytest.mark.parametrize("size", SIZES)
def test_the_radius_is_where_the_next_cell_begins(size):
    """Against brute force: no place of any other cell is nearer, and there is one about as near."""
    rng = Random(10 + size)
    for at in _places(rng)[:40]:
        around = cells_around(at, size)
        km = around.covered_km
        ring = [_nearby(rng, at, min(km * 1.05 + 1e-3, HALF_KM)) for _ in range(2_000)]
        if 0.001 < km < HALF_KM:
            assert any(cell_of(each, size) not in around.cells for each in ring) or size == 1


def test_four_cells_reach_half_a_cell():
    rng = Random(5)
    for size, shorter_side in ((5, 180 / 4096), (3, 180 / 128), (2, 180 / 32)):
        for _ in range(100):
            at = Location(rng.uniform(-20, 20), rng.uniform(-180, 180))
            narrower = min(shorter_side, shorter_side * math.cos(math.radians(at.latitude + shorter_side)))
            assert cells_around(at, size).covered_km >= 0.49 * narrower / 360 * 2 * HALF_KM


def test_so_many_cells_as_there_are_cover_the_earth():
    around = cells_around(NEW_YORK, 1, cells_max=32)
    assert len(around.cells) == 32
    assert around.covered_km == HALF_KM


@given(locations, st.sampled_from([0.01, 0.1, 0.5, 1.0, 7.0, 45.0]))
def test_rounding_is_settled_and_near(location, step):
    rounded = location.rounded(step)
    assert rounded.rounded(step) == rounded
    assert distance_km(location, rounded) <= 0.7072 * mesh_degrees(step) / 180 * HALF_KM + 1e-6
    assert step <= mesh_degrees(step) <= 1.3 * step


@given(locations)
def test_a_record_has_places_in_hundredths(location):
    rounded = location.rounded()
    assert Location(round(rounded.latitude * 100) / 100, round(rounded.longitude * 100) / 100) == rounded


def test_one_place_has_one_form():
    assert Location(10, 180) == Location(10, -180)
    assert Location(90, 77) == Location(90, 0)
    assert str(Location(-0.0, -0.0)) == "0,0"


@pytest.mark.parametrize("text", ["40.71,-74.01", " 40.71 , -74.01", "40.71,-74.010"])
def test_places_are_read(text):
    assert parse_location(text) == NEW_YORK


@pytest.mark.parametrize("text", ["", "40.71", "a,b", "1,2,3", "91,0", "0,181", "nan,0", "0,inf"])
def test_what_is_no_place_is_refused_with_an_example(text):
    with pytest.raises(LocalProtocolError, match=r"40\.71,-74\.01"):
        parse_location(text)
