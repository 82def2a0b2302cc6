"""What a module needs: blocks of the node, modules of its publisher, and modules that the index of the DHT names.

The last are fetched where the operator lets the node do so. One that came so runs in the container of the publisher for
whom it came, and ends with the last module that needs it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from netserv.controller.effects import Located, ModuleKey
from netserv.controller.jobs import Job, Reason, Slot, Wanted
from netserv.controller.policy import Policy
from netserv.controller.states import State
from netserv.signaling.nslp.codes import Code
from netserv.signaling.nslp.requests import Setup
from netserv.signaling.nslp.values import Dependency, version_numbers

Slots: TypeAlias = Mapping[ModuleKey, Slot]

DEPTH_MAX: Final = 4
"What is fetched needs what is fetched: four deep, where libraries of other languages have two or three as a rule."
_NUMBERS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})*")


def first_lack(
    needed: Iterable[Dependency], key: ModuleKey, slots: Slots, policy: Policy, *, depth: int = 0
) -> Dependency | Reason | None:
    """What a module has to wait for, the first of it; or why it cannot run here (424); None if all is here.

    Args:
        needed: blocks and modules.
        key: of the module.
        slots: all modules of the node.
        policy: of the operator.
        depth: how many modules stand above it, if it was fetched for others.
    """
    lacks, faults = [], []
    for dependency in needed:
        fault = _fault(dependency, key[0], slots, policy)
        if fault is None:
            continue
        never = _never(dependency, key, slots, policy, depth)
        if never is None:
            lacks.append(dependency)
        else:
            faults.append(fault + never)
    if faults:
        return Reason.read(Code.FAILED_DEPENDENCY, "; ".join(faults))
    return lacks[0] if lacks else None


def coming(dependency: Dependency, user: str, slots: Slots) -> Job | None:
    """The installation that a module waits for, if it has begun."""
    slot = slots.get((user, dependency.name))
    jobs = () if slot is None else slot.jobs()
    return next((job for job in jobs if job.lives and new_enough(job.target.version, dependency.least_version)), None)


def located_fault(located: Located, dependency: Dependency, policy: Policy) -> str | None:
    """Why what the index says is of no use here; None if it is."""
    rules = policy.dependencies
    if located.module.name != dependency.name or not new_enough(located.module.version, dependency.least_version):
        return f"{located.module} is something else"
    if not rules.keys_beside(located.publisher):
        return f"{located.module} is of a publisher who is not believed here"
    if located.size > bytes_max(policy):
        return f"{located.module} has {located.size} bytes, and may have {bytes_max(policy)} here"
    return None


def bytes_max(policy: Policy) -> int:
    """Of the bundle of a module that is fetched for others."""
    return min(policy.caps.bundle_bytes_max, policy.dependencies.bundle_bytes_max)


def wanted_for(job: Job, located: Located) -> Wanted:
    """What is to be installed since an installation needs it."""
    setup = Setup(
        target=located.module, ttl_s=1, url=located.urls[0], digest=located.digest, user=job.wanted.setup.user
    )
    flow = job.wanted.flow
    return Wanted(
        setup=setup, flow=flow, publisher=located.publisher, packets=None, way=None, granted_s=0, located=located
    )


def fetched_for(job: Job, slots: Slots) -> dict[str, Located]:
    """By name, what was fetched since an installation needs it, or needs what needs it."""
    found: dict[str, Located] = {}
    todo = [job]
    while todo:
        for dependency in todo.pop().needed:
            slot = slots.get((job.key[0], dependency.name))
            other = None if slot is None else slot.running
            if other is not None and other.wanted.located is not None and dependency.name not in found:
                found[dependency.name] = other.wanted.located
                todo.append(other)
    return found


def places_of(user: str, slots: Slots) -> int:
    """How many modules a publisher has here, or is about to have, with those that were fetched for him."""
    return sum(slot.holds_place for key, slot in slots.items() if key[0] == user)


def needing(name: str, slots: Iterable[Slot]) -> list[Job]:
    """The installations that need a module, but for those that have failed.

    Args:
        name: of the module.
        slots: of its publisher.
    """
    return [job for job in _jobs(slots) if any(dependency.name == name for dependency in job.needed)]


def unneeded(slots: Iterable[Slot]) -> list[Job]:
    """What was fetched and is to end now: of a chain the topmost, since what stands below serves it until it has ended.

    Args:
        slots: of one publisher.
    """
    slots = list(slots)
    jobs = list(_jobs(slots))
    marked: set[str] = set()
    todo = [job for job in jobs if not job.is_fetched]
    while todo:
        for dependency in todo.pop().needed:
            if dependency.name not in marked:
                marked.add(dependency.name)
                todo += [job for job in jobs if job.is_fetched and job.target.name == dependency.name]
    idle = [job for job in jobs if job.is_fetched and job.target.name not in marked]
    held = {dependency.name for job in idle for dependency in job.needed}
    ends = [job for job in idle if job.target.name not in held] or idle
    failed = [job for slot in slots for job in slot.jobs() if job.is_fetched and job.state is State.FAILED]
    return [job for job in ends if job.state is not State.REMOVING] + failed


def progress(job: Job, slots: Slots) -> str:
    """What an installation waits for, in words; empty for nothing."""
    if job.state is not State.GATHERING or job.lacks is None:
        return ""
    other = coming(job.lacks, job.key[0], slots)
    if other is None:
        return f"{job.lacks} is looked for"
    beyond = progress(other, slots)
    return f"{other.target} is {other.state.value}{f': {beyond}' if beyond else ''}"


def new_enough(version: str, least: str | None) -> bool:
    """Whether a version is at least another one; one that is not of numbers is as good as none."""
    if least is None:
        return True
    return _NUMBERS.fullmatch(version) is not None and version_numbers(version) >= version_numbers(least)


def _fault(dependency: Dependency, user: str, slots: Slots, policy: Policy) -> str | None:
    """What is wrong with a dependency now; None if it is here."""
    slot = slots.get((user, dependency.name))
    running = None if slot is None else slot.running
    active = running.target.version if running is not None and running.state is State.ACTIVE else None
    version = policy.blocks.get(dependency.name) or active
    if version is None:
        return f"{dependency} is not here"
    if not new_enough(version, dependency.least_version):
        return f"{dependency} is needed, and {version} is here"
    return None


def _never(dependency: Dependency, key: ModuleKey, slots: Slots, policy: Policy, depth: int) -> str | None:
    """Why that will stay so, as text behind the fault; None if it may come."""
    if dependency.name in policy.blocks:
        return ""
    other = coming(dependency, key[0], slots)
    if other is not None:
        return f": it needs {key[1]} itself" if _waits_for(other, key, slots) else None
    slot = slots.get((key[0], dependency.name))
    if slot is not None and any(not job.is_fetched for job in slot.jobs()):
        return ""  # a name that the publisher uses himself is his
    if dependency.name == key[1]:
        return ""
    if not policy.dependencies.fetch:
        return ""
    if depth >= DEPTH_MAX:
        return f": nothing is fetched for what is {DEPTH_MAX} deep"
    return None if slot is not None and slot.holds_place else _no_room(key[0], slots, policy)


def _no_room(user: str, slots: Slots, policy: Policy) -> str | None:
    """Why a publisher cannot have one more module; None if he can."""
    mine = places_of(user, slots)
    most = policy.modules_max(user) if user in policy.publishers else 0
    return f": {user} has {mine} modules here, and may have {most}" if mine >= most else None


def _waits_for(job: Job | None, key: ModuleKey, slots: Slots) -> bool:
    """Whether an installation waits for a module, or for one that does."""
    seen: set[int] = set()
    while job is not None and job.number not in seen:
        if job.key == key:
            return True
        seen.add(job.number)
        job = None if job.lacks is None else coming(job.lacks, key[0], slots)
    return False


def _jobs(slots: Iterable[Slot]) -> Iterator[Job]:
    return (job for slot in slots for job in slot.jobs() if job.state is not State.FAILED)
