"""Blocks and modules that a module needs: offered here, or installed by its publisher, in whose container it runs."""

import re
from collections.abc import Iterable, Mapping

from netserv.controller.jobs import Reason
from netserv.controller.policy import Policy
from netserv.signaling.nslp.codes import Code
from netserv.signaling.nslp.values import Dependency, version_numbers

_NUMBERS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})*")


def missing(dependencies: Iterable[Dependency], blocks: Mapping[str, str], active: Mapping[str, str]) -> list[str]:
    """Those that are not to be had, in words."""
    faults = []
    for dependency in dependencies:
        version = blocks.get(dependency.name) or active.get(dependency.name)
        if version is None:
            faults.append(f"{dependency} is not here")
        elif not new_enough(version, dependency.least_version):
            faults.append(f"{dependency} is needed, and {version} is here")
    return faults


def check_dependencies(dependencies: Iterable[Dependency], policy: Policy, active: Mapping[str, str]) -> Reason | None:
    """Why a module cannot run here for want of others (424); None if all are there."""
    faults = missing(dependencies, policy.blocks, active)
    return Reason.read(Code.FAILED_DEPENDENCY, "; ".join(faults)) if faults else None


def new_enough(version: str, least: str | None) -> bool:
    """Whether a version is at least another one; one that is not of numbers is as good as none."""
    if least is None:
        return True
    return _NUMBERS.fullmatch(version) is not None and version_numbers(version) >= version_numbers(least)
