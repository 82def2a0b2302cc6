"""Every experiment by its number."""

from collections.abc import Mapping
from typing import Any, Final

from mdht.experiments.base import Experiment
from mdht.experiments.deployment import DEPLOYMENT
from mdht.experiments.durability import DURABILITY
from mdht.experiments.links import LINKS
from mdht.experiments.load import LOAD
from mdht.experiments.parallel import PARALLEL

EXPERIMENTS: Final[Mapping[int, Experiment[Any]]] = {
    each.number: each for each in (PARALLEL, DURABILITY, LOAD, DEPLOYMENT, LINKS)
}
