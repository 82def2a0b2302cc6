"""What a PROBE is told: of the node, with facts that are handed in, and of one module."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from netserv.controller.dependencies import needing
from netserv.controller.jobs import Job, Slot
from netserv.controller.lifecycle import Lifecycle
from netserv.controller.states import State
from netserv.signaling.handler import NodeFacts, probed
from netserv.signaling.nslp.codes import Code
from netserv.signaling.nslp.handling import Answer
from netserv.signaling.nslp.requests import Probe
from netserv.signaling.nslp.responses import TEXT_MAX
from netserv.signaling.nslp.text import Header


class ModuleFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What container and packet path tell of an active module."""

    load: tuple[Header, ...] = ()
    "`packets`, `cpu-s` and the like, with their values."
    walls: tuple[str, ...] = ()
    "Of its container, those that hold."
    strikes: int = 0
    "Times that it has failed and was forgiven."


def probed_node(facts: NodeFacts, probe: Probe, lifecycle: Lifecycle) -> tuple[Header, ...]:
    """Lines about the node; of modules, those of the publisher who asks."""
    policy = lifecycle.policy
    rules = (
        ("ttl-max", str(policy.caps.ttl_max_s)),
        ("modules-max", str(policy.caps.modules_per_publisher_max)),
        ("authorization", " ".join(policy.ways)),
        ("failure", policy.failure),
    )
    own = () if probe.user is None else tuple(_modules_of(probe.user, lifecycle))
    blocks = tuple(f"{name}_{version}" for name, version in sorted(policy.blocks.items()))
    shown = msgspec.structs.replace(facts, modules=own, blocks=blocks, policy=(*facts.policy, *rules))
    return probed(shown, probe.items)


def probed_module(
    job: Job, facts: ModuleFacts, node: NodeFacts, items: tuple[str, ...], now: float, waits: str = ""
) -> Answer:
    """The answer about a module: its code says how far it is, and that of a failed one why.

    Args:
        job: its installation.
        facts: of the module.
        node: of the node.
        items: what is asked.
        now: the time, s.
        waits: for what it waits, in words.
    """
    lines = [(item, _short(_ITEMS[item](job, facts, now))) for item in items if item in _ITEMS]
    if "address" in items:
        lines += probed(node, ("address",))
    unknown = ",".join(item for item in items if item not in _ITEMS and item != "address")
    if unknown:
        lines.append(("unsupported", unknown))
    if job.state is State.FAILED and job.failure is not None:
        return Answer(code=job.failure.code, text=f"failed: {job.failure.text}"[:TEXT_MAX], lines=tuple(lines))
    code = Code.OK if job.state is State.ACTIVE else Code.ACCEPTED
    text = f"{job.state.value}: {waits}"[:TEXT_MAX] if waits else job.state.value
    return Answer(code=code, text=text, lines=tuple(lines))


def _modules_of(user: str, lifecycle: Lifecycle) -> list[str]:
    slots = list(lifecycle.slots_of(user))
    return sorted(f"{job.target} {job.state.value}{_whom(job, slots)}" for slot in slots for job in slot.jobs())


def _whom(job: Job, slots: list[Slot]) -> str:
    """For whom a module was fetched."""
    others = " ".join(str(other.target) for other in needing(job.target.name, slots)) if job.is_fetched else ""
    return f" for {others}" if others else ""


def _status(job: Job, facts: ModuleFacts, now: float) -> str:
    left = "as long as it is needed" if job.is_fetched else f"{max(0.0, job.ends_at - now):.0f} s left"
    words = [job.state.value, f"for {now - job.since:.0f} s", left]
    if facts.strikes:
        words.append(f"{facts.strikes} strikes")
    return ", ".join(words)


def _capabilities(job: Job, _facts: ModuleFacts, _now: float) -> str:
    manifest = job.manifest
    return "" if manifest is None else ",".join((manifest.kind, *manifest.exports))


def _policy(job: Job, facts: ModuleFacts, _now: float) -> str:
    wanted = job.wanted
    ttl = "none" if job.is_fetched else str(wanted.granted_s)
    parts = [f"ttl={ttl}", f"authorization={wanted.way or 'none'}"]
    if wanted.packets is not None:
        ports = " ".join(map(str, wanted.packets.ports))
        parts += [f"filter={wanted.packets.proto} {ports} to {wanted.packets.destination}"]
    if job.manifest is not None:
        parts += [f"failure={job.manifest.failure}"]
    if facts.walls:
        parts += [f"walls={' '.join(facts.walls)}"]
    return ",".join(parts)


def _blocks(job: Job, _facts: ModuleFacts, _now: float) -> str:
    required = () if job.manifest is None else job.manifest.requires
    return ",".join(dict.fromkeys((*required, *map(str, job.wanted.setup.dependencies))))


_ITEMS: Final[Mapping[str, Callable[[Job, ModuleFacts, float], str]]] = {
    "status": _status,
    "capabilities": _capabilities,
    "policy": _policy,
    "modules": lambda job, _facts, _now: str(job.wanted.setup.target),
    "blocks": _blocks,
    "load": lambda _job, facts, _now: ",".join(f"{name}={value}" for name, value in facts.load),
}
_VALUE_BYTES_MAX: Final = 512
"As for the node: all items fit what one answer may say."


def _short(value: str) -> str:
    """A value as a line has room for, without what a line cannot have."""
    cleaned = "".join(character if character.isprintable() else "?" for character in value).strip()
    if len(cleaned.encode()) <= _VALUE_BYTES_MAX:
        return cleaned
    return cleaned.encode()[: _VALUE_BYTES_MAX - 4].decode(errors="ignore") + " ..."
