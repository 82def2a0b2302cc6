"""What is measured: the six configurations of thesis section 6.3, two more, and what is to be reached."""

from collections.abc import Mapping
from typing import Final

import msgspec

from netserv.forwarding.base import PLANE_NAMES, PLANES, XDP_STACK

_COUNTING: Final = ("xdp", XDP_STACK)
"Those in which the kernel treats flows by itself."
SIZES: Final = (64, 340)
"Bytes of an IP packet: the smallest, and a SIP keep-alive."
CROWD: Final = "crowd"
"As the goal of many containers is called; their number is `CROWD_MAX`."
CROWD_MAX: Final = 100


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """A way through the router."""

    number: int
    "Of thesis section 6.3; 0: not of the thesis."
    name: str
    module: str = ""
    "Of `orders.Install`; none: no node runs there."
    ruled: bool = True
    "Whether netfilter has rules."
    asked: bool = True
    "Whether packets are those that the module has asked for."
    offload: bool = False
    "Whether the module may have the kernel count."
    answers: bool = False
    "Whether the module says something of each packet, so that only those count."
    planes: tuple[str, ...] = PLANE_NAMES
    sizes: tuple[int, ...] = SIZES
    kpps: Mapping[int, float] = {}
    "Of the thesis, by size."


CONFIGURATIONS: Final = (
    Configuration(number=1, name="plain router", ruled=False, kpps={64: 786, 340: 343}),
    Configuration(number=2, name="netfilter rules", kpps={64: 641, 340: 343}),
    Configuration(number=3, name="user space", module="none", kpps={64: 365, 340: 213}),
    Configuration(number=4, name="container", module="accept", answers=True, kpps={64: 188, 340: 117}),
    Configuration(number=5, name="NetMonitor", module="net-monitor", answers=True, kpps={64: 188, 340: 111}),
    Configuration(number=6, name="KeepAlive", module="keep-alive", answers=True, sizes=(340,), kpps={340: 71}),
    Configuration(
        number=0, name="NetMonitor, offloaded", module="net-monitor", offload=True, answers=True, planes=_COUNTING
    ),
    Configuration(number=0, name="not asked for", module="accept", asked=False),
    Configuration(number=0, name="flow accepted", module="flow", answers=True, planes=_COUNTING),
)
"""Packets come only to a module that has asked for them: that of configuration 4 lets all pass. The thesis' container
has none."""
BASE: Final = CONFIGURATIONS[1]
BY_NAME: Final = {each.name: each for each in CONFIGURATIONS}
THESIS_DELAY_US: Final = 92.0
THESIS_MB: Final = 110.0
"Of one of its 100 containers."


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A bound of a median."""

    what: str
    plane: str
    measure: str
    bound: float
    least: bool = True
    "Whether it is to be reached, not to be stayed below."

    def met(self, value: float) -> bool:
        """Whether a value is good enough."""
        return value >= self.bound if self.least else value <= self.bound


RATIO, ADDED, P99, MEMORY, START = "ratio", "added median us", "p99 us", "MB each", "ms to start"
GOALS: Final = (
    *(
        Goal(what=what, plane=plane, measure=RATIO, bound=bound)
        for what, bounds in {
            "user space": (0.70, 0.28),
            "container": (0.62, 0.24),
            "NetMonitor": (0.60, 0.22),
            "KeepAlive": (0.58, 0.22),
            "not asked for": (0.95, 0.98),
        }.items()
        for plane, bound in zip(PLANES, bounds, strict=True)
    ),
    Goal(what="NetMonitor, offloaded", plane="xdp", measure=RATIO, bound=0.85),
    Goal(what="flow accepted", plane="xdp", measure=RATIO, bound=1.5),
    Goal(what=CROWD, plane="xdp", measure=RATIO, bound=0.30),
    *(
        Goal(what=CROWD, plane=plane, measure=measure, bound=bound, least=False)
        for measure, bound in ((MEMORY, 5.0), (START, 60.0))
        for plane in PLANES
    ),
    *(
        Goal(what="container", plane=plane, measure=measure, bound=bound, least=False)
        for plane, measure, bound in (("xdp", ADDED, 45.0), ("xdp", P99, 200.0), ("netfilter", ADDED, 60.0))
    ),
)


def goal(what: str, plane: str, measure: str) -> Goal | None:
    """What is to be reached, where there is a goal."""
    for each in GOALS:
        if (each.what, each.plane, each.measure) == (what, plane, measure):
            return each
    return None
