"""What goes wrong on a link, and what is measured of it: losses, crashes, splits, and multicast that is filtered."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Final

import msgspec

from mdht.experiments.base import Row
from mdht.experiments.link_run import WholeHost, WholeLink
from mdht.subnet.messages import State, Suspect

Measured = dict[str, float | None]

STEADY, CRASH, SPLIT, FILTERED = "steady", "crash", "split", "filtered"
SIGNED: Final = "signed"
"Crashes where hosts sign, so that it takes two of them to find a third one dead."
BOTH_WAYS, NOT_HEARD, HEARS_NOTHING, WHOLE_LINK = "both ways", "not heard", "hears nothing", "whole link"
WAYS: Final = (BOTH_WAYS, NOT_HEARD, HEARS_NOTHING, WHOLE_LINK)
"Of one host's multicast, or of everybody's, that is filtered."
UNICAST_SHARE: Final = 0.1
"Of the multicast loss: a wireless link sends a unicast packet again until it is acknowledged."
START_S: Final = 10.0
"Until a link without loss has come to one subnet, before the loss begins."
SLICE_S: Final = 60.0
CRASH_WITHIN_S: Final = 3.0
"A crash comes at any time of a heartbeat's period."
WAIT_MAX_S: Final = 120.0
"No crash, and no end of a split, is waited for any longer."
SPLIT_S: Final = 60.0
FILTERED_S: Final = 60.0
"Multicast stays filtered for so long after all hosts have noticed, before one of them crashes."
EPISODE_S: Final = 10.0
"A host that several others take for dead within this time is one false death."
COLUMNS: Final = (
    *("seed", "part", "hosts", "loss", "way", "host_hours", "false_dead", "marks", "accusations", "packets_per_s"),
    *("first_s", "all_s", "agreed_s", "emulated_s", "multicast_s"),
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One link."""

    part: str
    hosts: int
    loss: float
    "Of multicast."
    duration_s: float = 0.0
    "That nothing happens in, for the steady part."
    events: int = 0
    "Crashes, splits or filters, for the others."
    way: str = ""
    "In which multicast is filtered."


def linked(settings: Settings, seed: int) -> WholeLink:
    """A link that has come to one subnet, and loses packets from now on."""
    link = WholeLink(seed, host_keys=settings.part == SIGNED)
    starts = Random(f"starts {seed} {settings.hosts}")
    for _ in range(settings.hosts):
        link.add()
        link.run(0.2 * starts.random())
    link.run(START_S)
    if link.run_until_agreed(WAIT_MAX_S) is None:
        raise AssertionError(f"seed {seed}: {settings.hosts} hosts without any loss are no subnet")
    link.multicast_loss = settings.loss
    link.unicast_loss = UNICAST_SHARE * settings.loss
    drain(link)
    return link


def false_deaths(marks: Sequence[tuple[float, bytes]]) -> int:
    """Hosts taken for dead, each once while others follow: marks are times and names, in any order."""
    found = 0
    last: dict[bytes, float] = {}
    for at, hid in sorted(marks):
        found += at - last.get(hid, -math.inf) > EPISODE_S
        last[hid] = at
    return found


def drain(link: WholeLink) -> tuple[list[tuple[float, bytes]], int, int]:
    """Marks of death, accusations, and packets since the last call; nothing of them is kept."""
    marks = [(at, hid) for host in link.hosts for at, hid, state in host.changes if state is State.DEAD]
    accusations = sum(isinstance(message, Suspect) for host in link.hosts for _, message in host.sent)
    packets = sum(len(host.sent) for host in link.hosts)
    for host in link.hosts:
        host.changes.clear()
        host.sent.clear()
    return marks, accusations, packets


# ---- the five parts ------------------------------------------------------------------------------------------------


def run(settings: Settings, seed: int) -> list[Row]:
    """One link, and what happens on it."""
    link = linked(settings, seed)
    if settings.part == STEADY:
        return [_steady(link, settings, seed)]
    rng = Random(f"{settings.part} {seed} {settings.hosts} {settings.loss}")
    events: dict[str, Callable[[WholeLink, Random], Measured]] = {
        CRASH: _crash,
        SIGNED: _crash,
        SPLIT: _split,
        FILTERED: partial(_filtered, settings.way),
    }
    return [_row(settings, seed, **events[settings.part](link, rng)) for _ in range(settings.events)]


def _row(settings: Settings, seed: int, **measured: float | None) -> Row:
    row: Row = {name: getattr(settings, name) for name in ("part", "hosts", "loss", "way")}
    row = {"seed": seed} | row
    return row | {name: measured.get(name) for name in COLUMNS[len(row) :]}


def _steady(link: WholeLink, settings: Settings, seed: int) -> Row:
    """Nobody crashes: whoever is taken for dead is so by mistake."""
    marks: list[tuple[float, bytes]] = []
    accusations = packets = 0
    for _ in range(slices := math.ceil(settings.duration_s / SLICE_S)):
        link.run(settings.duration_s / slices)
        found = drain(link)
        marks += found[0]
        accusations += found[1]
        packets += found[2]
    return _row(
        settings,
        seed,
        host_hours=settings.hosts * settings.duration_s / 3600.0,
        false_dead=false_deaths(marks),
        marks=len(marks),
        accusations=accusations,
        packets_per_s=packets / settings.duration_s,
    )


def _crash(link: WholeLink, rng: Random) -> Measured:
    """One host crashes, and is started again when all others know it."""
    link.run(CRASH_WITHIN_S * rng.random())
    victim = rng.choice(link.hosts)
    drain(link)
    known = _crashed(link, victim)
    link.restart(victim)
    back_s = link.run_until_agreed(WAIT_MAX_S)
    drain(link)
    return known | {"agreed_s": back_s}


def _crashed(link: WholeLink, victim: WholeHost) -> Measured:
    """When the others know that a host has crashed."""
    victim.alive = False
    crashed_at = link.now
    while not all(_is_dead(other, victim) for other in link.living) and link.now - crashed_at < WAIT_MAX_S:
        link.run(0.1)
    times = [_death_s(other, victim, crashed_at) for other in link.living]
    known = [time for time in times if time is not None]
    return {"first_s": min(known, default=None), "all_s": max(known) if len(known) == len(times) else None}


def _is_dead(observer: WholeHost, victim: WholeHost) -> bool:
    member = observer.membership.view.get(victim.membership.hid)
    return member is not None and member.state is State.DEAD


def _death_s(observer: WholeHost, victim: WholeHost, crashed_at: float) -> float | None:
    """How long it took an observer to know of a crash; 0 if it took the victim for dead before."""
    if not _is_dead(observer, victim):
        return None
    name = victim.membership.hid
    last = max((at for at, hid, state in observer.changes if (hid, state) == (name, State.DEAD)), default=crashed_at)
    return last - crashed_at


def _split(link: WholeLink, rng: Random) -> Measured:
    """Half of the hosts are cut off from the other half for a minute."""
    link.run(CRASH_WITHIN_S * rng.random())
    for host in rng.sample(link.hosts, len(link.hosts) // 2):
        host.side = 1
    link.run(SPLIT_S)
    for host in link.hosts:
        host.side = 0
    agreed_s = link.run_until_agreed(WAIT_MAX_S)
    drain(link)
    return {"agreed_s": agreed_s}


def _filtered(way: str, link: WholeLink, rng: Random) -> Measured:
    """Multicast is filtered for a while; meanwhile a host to which that happens crashes, and comes back."""
    link.run(CRASH_WITHIN_S * rng.random())
    victim = rng.choice(link.hosts)
    for host in link.hosts if way == WHOLE_LINK else [victim]:
        _filter(host, way)
    drain(link)
    emulated_s = _until(link, lambda: link.agreed and link.served)
    noticed = drain(link)
    link.run(FILTERED_S)
    later = drain(link)
    known = _crashed(link, victim)

    def comes_back(host: WholeHost) -> None:
        """As a host does that has a state directory."""
        _filter(host, way)
        for other in link.living:
            host.membership.peers.add(other.address, link.now)

    link.restart(victim, prepare=comes_back)
    agreed_s = _until(link, lambda: link.agreed)
    for host in link.hosts:
        host.speaks_multicast = host.hears_multicast = True
    multicast_s = _until(link, lambda: link.by_multicast)
    drain(link)
    return known | {
        "emulated_s": emulated_s,
        "false_dead": false_deaths(noticed[0] + later[0]),
        "marks": len(noticed[0] + later[0]),
        "accusations": noticed[1] + later[1],
        "packets_per_s": later[2] / FILTERED_S,
        "agreed_s": agreed_s,
        "multicast_s": multicast_s,
    }


def _filter(host: WholeHost, way: str) -> None:
    host.speaks_multicast, host.hears_multicast = way == HEARS_NOTHING, way == NOT_HEARD


def _until(link: WholeLink, holds: Callable[[], bool]) -> float | None:
    """How long something takes; None if that is too long."""
    began = link.now
    while not holds():
        if link.now - began >= WAIT_MAX_S:
            return None
        link.run(0.1)
    return link.now - began
