"""Installations as the controller keeps them: at most one of a module that runs, and one that is to take its place."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

import msgspec

from netserv.controller.effects import Entry, Located, ModuleKey
from netserv.controller.policy import Way
from netserv.controller.states import PREPARING, RUNNING, State
from netserv.errors import LocalProtocolError
from netserv.forwarding.filters import PacketFilter
from netserv.modules.manifest import Manifest
from netserv.signaling.nslp.codes import Code
from netserv.signaling.nslp.requests import Setup, encode
from netserv.signaling.nslp.values import Dependency, Flow, ModuleRef

REASON_MAX: Final = 400
"Characters: an entry of a response has 512, with what is said around it."


class Reason(msgspec.Struct, frozen=True):
    """Why something failed or ends, for entries of responses and for notifications."""

    code: Code
    text: str

    @classmethod
    def read(cls, code: Code, text: str) -> Self:
        """One whose text is others' as well, and may hold anything."""
        clean = "".join(letter if letter.isprintable() else " " for letter in text)
        return cls(code, " ".join(clean.split())[:REASON_MAX].strip() or "no reason given")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be installed, and by whose leave."""

    setup: Setup
    flow: Flow
    "Along which it has come."
    publisher: bytes
    "Public key that has signed it."
    packets: PacketFilter | None
    way: Way | None
    "By which they were granted, or will be."
    granted_s: int
    "Time to live."
    located: Located | None = None
    """Where the index says that it is: no request asks for it but a module that needs it, and it lives as long as that.
    The SETUP is as its publisher would have written it, and signed by nobody."""

    @property
    def key(self) -> ModuleKey:
        """Publisher and name of the module."""
        return self.setup.user, self.setup.target.name


class Job:
    """One installation."""

    __slots__ = (
        "bundle",
        "depth",
        "ends_at",
        "failure",
        "known",
        "lacks",
        "manifest",
        "needed",
        "notification",
        "number",
        "pending",
        "reason",
        "restored",
        "searching",
        "since",
        "state",
        "wanted",
    )

    def __init__(self, number: int, wanted: Wanted, now: float, *, restored: bool = False) -> None:
        self.number = number
        self.wanted = wanted
        self.state = State.NEW
        "Changed by `Lifecycle` alone, as the table says."
        self.since = now
        "When it came into its state."
        self.ends_at = math.inf if wanted.located is not None else now + wanted.granted_s
        self.restored = restored
        "It was active before the node was started again."
        self.bundle: Path | None = None
        self.manifest: Manifest | None = None
        self.failure: Reason | None = None
        self.reason: Reason | None = None
        "Why it ends."
        self.notification = wanted.setup.notification
        self.pending: Wanted | None = None
        "A refresh whose leave is being checked."
        self.needed: tuple[Dependency, ...] = ()
        "Blocks and modules, once its manifest is known."
        self.lacks: Dependency | None = None
        "What it waits for, of these."
        self.searching = False
        "The index is being asked for it."
        self.depth = 0
        "Of what was fetched for another module, how many stand above it."
        self.known: Mapping[str, Located] = MappingProxyType({})
        "By name, what the index has said, now or before the node was started again."

    @property
    def key(self) -> ModuleKey:
        """Publisher and name of the module."""
        return self.wanted.key

    @property
    def target(self) -> ModuleRef:
        """Name and version of the module."""
        return self.wanted.setup.target

    @property
    def is_fetched(self) -> bool:
        """Whether it is here only since other modules need it."""
        return self.wanted.located is not None

    @property
    def lives(self) -> bool:
        """Whether it runs or is about to."""
        return self.state in PREPARING or self.state in RUNNING

    def verified(self) -> tuple[Path, Manifest]:
        """Its bundle with the manifest; only what was verified has them."""
        if self.bundle is None or self.manifest is None:
            raise LocalProtocolError(f"installation {self.number} was not verified")
        return self.bundle, self.manifest

    @property
    def cause(self) -> Reason | None:
        """Why it is of no use to those who need it, in whatever state; None if that is just how it was to end."""
        if self.failure is not None:
            return self.failure
        return self.reason if self.reason is not None and self.reason.code is not Code.OK else None

    def entry(self, found: tuple[Located, ...]) -> Entry:
        """For the journal, with what was fetched for it."""
        wanted = self.wanted
        return Entry(
            text=encode(wanted.setup),
            flow=wanted.flow,
            publisher=wanted.publisher,
            way=wanted.way or "",
            granted_s=wanted.granted_s,
            ends_at=self.ends_at,
            found=found,
        )


class Slot:
    """The place of one module of one publisher."""

    __slots__ = ("coming", "recorded", "running")

    def __init__(self) -> None:
        self.running: Job | None = None
        self.coming: Job | None = None
        self.recorded = False
        "The journal has it."

    def jobs(self) -> Iterator[Job]:
        """The newer one first."""
        if self.coming is not None:
            yield self.coming
        if self.running is not None:
            yield self.running

    @property
    def latest(self) -> Job | None:
        """The newest that runs or is about to."""
        return next((job for job in self.jobs() if job.lives), None)

    @property
    def holds_place(self) -> bool:
        """Whether something of it is there, or about to be: all but a failure that is remembered."""
        return any(job.state is not State.FAILED for job in self.jobs())

    @property
    def to_be_recorded(self) -> bool:
        """Whether it belongs in the journal, once it is there."""
        return self.recorded_job is not None

    @property
    def recorded_job(self) -> Job | None:
        """What a restart of the node would install again, if it is in the journal."""
        if self.running is not None and self.running.state in RUNNING and not self.running.is_fetched:
            return self.running
        coming = self.coming
        waits = coming is not None and (
            coming.state is State.WAITING or (coming.restored and coming.state in PREPARING)
        )
        return coming if waits else None
