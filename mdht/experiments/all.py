"""Every experiment by its number."""

from collections.abc import Mapping
from typing import Any, Final

from mdht.experiments.availability import AVAILABILITY
from mdht.experiments.base import Experiment
from mdht.experiments.bootstrap import BOOTSTRAP
from mdht.experiments.churn import CHURN
from mdht.experiments.deployment import DEPLOYMENT
from mdht.experiments.durability import DURABILITY
from mdht.experiments.links import LINKS
from mdht.experiments.load import LOAD
from mdht.experiments.lookups import LOOKUPS
from mdht.experiments.parallel import PARALLEL
from mdht.experiments.policies import COMPARED
from mdht.experiments.proximity import PROXIMITY
from mdht.experiments.superpeer import CONTRAST
from mdht.experiments.upkeep import UPKEEP

EXPERIMENTS: Final[Mapping[int, Experiment[Any]]] = {
    each.number: each
    for each in (
        CHURN,
        LOOKUPS,
        AVAILABILITY,
        BOOTSTRAP,
        PARALLEL,
        UPKEEP,
        DURABILITY,
        COMPARED,
        LOAD,
        CONTRAST,
        PROXIMITY,
        DEPLOYMENT,
        LINKS,
    )
}
