"""Drawings; the only file that imports matplotlib."""

import io
from typing import Any, Final

from dhtboot.errors import LocalProtocolError

try:
    import matplotlib as mpl
    from matplotlib.figure import Figure  # not pyplot: it keeps every figure that nobody closes
except ImportError as error:
    raise LocalProtocolError("figures need matplotlib: pip install 'z2z[figures]'") from error

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"Told apart by colour-blind readers too (Okabe and Ito)."
GREY: Final = "#888888"

mpl.rcParams.update(
    {
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.dpi": 120,
        "font.size": 10,
        "grid.alpha": 0.3,
        "legend.frameon": False,
        "svg.hashsalt": "z2z",  # the same drawing gives the same file
    }
)


def axes(title: str, x: str, y: str, *, columns: int = 1, width: float = 7.0, height: float = 4.2) -> tuple[Any, Any]:
    """A drawing and its axes (a list of them when there are several columns)."""
    drawing = Figure(figsize=(width, height), layout="constrained")
    found = drawing.subplots(1, columns)
    drawing.suptitle(title)
    for each in found if columns > 1 else [found]:
        each.set_xlabel(x)
        each.set_ylabel(y)
    return drawing, found


def bare_axes(title: str, rows: int, columns: int, size: float) -> tuple[Any, list[Any]]:
    """A drawing with axes without any scale, for shapes."""
    drawing = Figure(figsize=(size * columns, size * rows + 0.5), layout="constrained")
    found = drawing.subplots(rows, columns, squeeze=False)
    drawing.suptitle(title)
    flat = [each for row in found for each in row]
    for each in flat:
        each.set_axis_off()
        each.set_aspect("equal")
    return drawing, flat


def files(drawing: Any) -> dict[str, bytes]:
    """A drawing as PNG and SVG."""
    found: dict[str, bytes] = {}
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        buffer = io.BytesIO()
        drawing.savefig(buffer, format=kind, metadata=metadata)
        found[kind] = buffer.getvalue()
    return found
