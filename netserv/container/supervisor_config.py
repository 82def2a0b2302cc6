"""Settings of the supervisor of containers."""

from pathlib import Path
from typing import Final

import msgspec

from netserv.errors import LocalProtocolError

FIRST_USER: Final = 1_880_000_000
"Behind the numbers that systemd gives to containers, before those that are negative somewhere (systemd, UIDS-GIDS)."
PUBLISHERS_MAX: Final = 1_000
"Containers at a time; at 5 MB each as much memory as a small router has."


class SupervisorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the supervisor of containers."""

    first_user: int = FIRST_USER
    "User and group number of the first publisher; the others follow."
    publishers_max: int = PUBLISHERS_MAX
    keep_warm_s: float = 0.0
    "How long a container without modules is kept."
    may_lack: frozenset[str] = frozenset()
    "Walls that this machine cannot put up, and the operator does without."
    start_s: float = 10.0
    "Longest time until a container has tested its walls."
    load_s: float = 10.0
    "Longest time until a module has started."
    unload_s: float = 2.0
    pong_s: float = 5.0
    "Longest silence of a container: more than a quarter of a processor needs to import the largest module."
    runtime: str = "netserv.container.runtime.main"
    "Module whose `run(control)` a container runs."
    runtime_directories: tuple[Path, ...] = ()
    "Where it is, if not in this package."
    left_out: tuple[str, ...] = ()
    "Walls to leave out: for the tests of their tests."

    def __post_init__(self) -> None:
        if not 1 <= self.first_user <= 0x7FFF_FFFF - PUBLISHERS_MAX:
            raise LocalProtocolError("first_user is above the numbers of people and below 2^31")
        if not 1 <= self.publishers_max <= PUBLISHERS_MAX:
            raise LocalProtocolError(f"publishers_max is 1 to {PUBLISHERS_MAX}")
