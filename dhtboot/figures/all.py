"""Every figure by its number."""

from collections.abc import Mapping
from typing import Final

from dhtboot.figures import figure_2_1, figure_2_2, figure_2_5, figure_2_6, figure_2_7
from dhtboot.figures.base import Figure

FIGURES: Final[Mapping[str, Figure]] = {
    figure.number: figure
    for module in (figure_2_1, figure_2_2, figure_2_5, figure_2_6, figure_2_7)
    for figure in module.FIGURES
}
