"""Where a node is, how far that is, and the cells of the globe under which it is found.

Cells are those of geohash (Niemeyer 2008), of four sizes: 1, 2, 3 and 5 letters. The letters carry 5 bits each, which
halve longitude and latitude in turn. Distances are those of a sphere: at most 0.6 % from the ellipsoid's, less than the
rounding of most places.
"""

import heapq
import math
from typing import Final

import msgspec

from netserv_discovery.errors import LocalProtocolError

EARTH_KM: Final = 6_371.0088
"Mean radius (IUGG)."
STEP_DEGREES: Final = 0.01
"A record's place has no more: 1.1 km, which tells a district and no house."
SIZES: Final = (5, 3, 2, 1)
"Letters of a cell's name, smallest cell first: at the equator 4.9 x 4.9, 156 x 156, 1,250 x 625 and 5,000 x 5,000 km."
CELLS_AROUND: Final = 4
"""Cells asked for a place: its own and the three that are nearest. They are sure to hold all that is nearer than half a
cell; nine would make it a whole cell for more than twice the requests."""
_LETTERS: Final = "0123456789bcdefghjkmnpqrstuvwxyz"
_HALF_CIRCLE: Final = 18_000
"In hundredths of a degree."
_LIMIT: Final = 1e-9
"Degrees within which two numbers are the same: 0.1 mm."


class Location(msgspec.Struct, frozen=True, gc=False):
    """A place in degrees (WGS 84): north and east are positive. 180 is written as -180, and a pole has longitude 0.

    Raises:
        LocalProtocolError: there is no such place.
    """

    latitude: float
    longitude: float

    def __post_init__(self) -> None:
        if not (-90 <= self.latitude <= 90 and -180 <= self.longitude <= 180):  # says no to NaN as well
            raise LocalProtocolError(
                f"{self.latitude},{self.longitude} is no place: latitude -90..90, longitude -180..180, as 40.71,-74.01"
            )
        longitude = 0.0 if abs(self.latitude) == 90 else self.longitude
        # Adding 0 makes a negative zero a positive one: equal places have one form.
        msgspec.structs.force_setattr(self, "latitude", float(self.latitude) + 0.0)
        msgspec.structs.force_setattr(self, "longitude", -180.0 if longitude == 180 else float(longitude) + 0.0)

    def __str__(self) -> str:
        return f"{self.latitude:.6g},{self.longitude:.6g}"

    def rounded(self, step_degrees: float = STEP_DEGREES) -> "Location":
        """The nearest place of a grid.

        Args:
            step_degrees: its mesh, made wider to one that divides the circle (`mesh_degrees`).
        """
        step = _mesh(step_degrees)
        return Location(min(max(_snapped(self.latitude, step), -90.0), 90.0), _snapped(self.longitude, step))


def parse_location(text: str) -> Location:
    """The place of `LATITUDE,LONGITUDE`.

    Raises:
        LocalProtocolError: it is none.
    """
    parts = text.split(",")
    try:
        latitude, longitude = (float(part) for part in parts)
    except ValueError:
        raise LocalProtocolError(
            f"{text!r} is no place: say latitude and longitude in degrees, as 40.71,-74.01 for New York"
        ) from None
    return Location(latitude, longitude)


def distance_km(a: Location, b: Location) -> float:
    """Length of the great circle between two places."""
    return _arc_km(a.latitude, b.latitude, b.longitude - a.longitude)


def cell_of(location: Location, size: int) -> str:
    """The name of the cell that a place is in, `dr5ru`.

    Args:
        location: the place.
        size: letters, one of `SIZES`.
    """
    return _name(*_indices(location, size), size)


class Around(msgspec.Struct, frozen=True):
    """Cells around a place."""

    cells: tuple[str, ...]
    "Nearest first."
    covered_km: float
    "All that is nearer than that is in them."


def cells_around(location: Location, size: int, cells_max: int = CELLS_AROUND) -> Around:
    """The cells nearest to a place, and how far they reach for sure.

    Args:
        location: the place.
        size: letters, one of `SIZES`.
        cells_max: so many; near a pole, where many cells meet, they reach less far.
    """
    columns, rows = _grid(size)
    start = _indices(location, size)
    queue = [(0.0, start)]
    seen = {start}
    cells: list[str] = []
    while queue and len(cells) < cells_max:
        _, (column, row) = heapq.heappop(queue)
        cells.append(_name(column, row, size))
        # A great circle passes from cell to cell over their sides. Over a pole it passes from any column to any other:
        # all of that row are at one distance at most then, and are neighbours along it.
        beside = [((column + 1) % columns, row), ((column - 1) % columns, row), (column, row + 1), (column, row - 1)]
        for each in beside:
            if 0 <= each[1] < rows and each not in seen:
                seen.add(each)
                heapq.heappush(queue, (_cell_km(location, *each, size), each))
    return Around(tuple(cells), queue[0][0] if queue else math.pi * EARTH_KM)


def mesh_degrees(step_degrees: float) -> float:
    """The mesh of the grid to which `Location.rounded` rounds."""
    return _mesh(step_degrees) / 100.0


def _mesh(step_degrees: float) -> int:
    """In hundredths, a divisor of half the circle: else the places at the date line would not be those of the grid."""
    least = max(1, math.ceil(step_degrees / STEP_DEGREES - _LIMIT))
    return next((step for step in range(least, _HALF_CIRCLE) if _HALF_CIRCLE % step == 0), _HALF_CIRCLE)


def _snapped(degrees: float, step: int) -> float:
    # In whole hundredths, divided once: so that equal places are equal numbers.
    return round(degrees / STEP_DEGREES / step) * step / 100.0


def _grid(size: int) -> tuple[int, int]:
    """Columns and rows."""
    bits = 5 * size
    return 1 << (bits + 1) // 2, 1 << bits // 2


def _indices(location: Location, size: int) -> tuple[int, int]:
    columns, rows = _grid(size)
    column = min(int((location.longitude + 180.0) / 360.0 * columns), columns - 1)
    row = min(int((location.latitude + 90.0) / 180.0 * rows), rows - 1)
    return column, row


def _name(column: int, row: int, size: int) -> str:
    """Interleave: longitude has the first bit."""
    bits = 0
    columns_left, rows_left = (5 * size + 1) // 2, 5 * size // 2
    for at in range(5 * size):
        if at % 2 == 0:
            columns_left -= 1
            bits = bits << 1 | column >> columns_left & 1
        else:
            rows_left -= 1
            bits = bits << 1 | row >> rows_left & 1
    return "".join(_LETTERS[bits >> 5 * (size - 1 - at) & 31] for at in range(size))


def _cell_km(location: Location, column: int, row: int, size: int) -> float:
    """Distance to the nearest point of a cell."""
    columns, rows = _grid(size)
    south, north = (180.0 * each / rows - 90.0 for each in (row, row + 1))
    west, east = (360.0 * each / columns - 180.0 for each in (column, column + 1))
    latitude = location.latitude
    if west - _LIMIT <= location.longitude <= east + _LIMIT:
        # The nearest point is on the same meridian.
        return _arc_km(latitude, min(max(latitude, south), north), 0.0)
    # Else it is on one of the two meridians that bound the cell: on a parallel, what is nearer in longitude is nearer.
    return min(_to_meridian_km(latitude, side - location.longitude, south, north) for side in (west, east))


def _to_meridian_km(latitude: float, longitude_apart: float, south: float, north: float) -> float:
    """Distance to a piece of a meridian."""
    phi, apart = math.radians(latitude), math.radians(longitude_apart)
    foot = math.degrees(math.atan2(math.sin(phi), math.cos(phi) * math.cos(apart)))
    "Latitude of the nearest point of its whole circle; beyond a pole it is over 90."
    ends = min(_arc_km(latitude, end, longitude_apart) for end in (south, north))
    return min(ends, _arc_km(latitude, foot, longitude_apart)) if south <= foot <= north else ends


def _arc_km(latitude: float, other_latitude: float, longitude_apart: float) -> float:
    # Haversine: exact for small distances, unlike the law of cosines.
    phi, psi = math.radians(latitude), math.radians(other_latitude)
    half = (
        math.sin((psi - phi) / 2) ** 2
        + math.cos(phi) * math.cos(psi) * math.sin(math.radians(longitude_apart) / 2) ** 2
    )
    return 2 * EARTH_KM * math.asin(math.sqrt(min(1.0, half)))
