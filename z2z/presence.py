"""How one import stands on the link: probing, visible, standing by for another importer, or blocked. No I/O here.

An import is a guest: it takes a name only when probing found it free, and gives it back when a local device claims it
(RFC 6762 section 9, where the device would otherwise have to rename itself).
"""

import math
from collections.abc import Callable, Mapping
from enum import Enum
from random import Random
from typing import Final, TypeAlias

import msgspec

from z2z.mdns.messages import Conflict, ConflictReason, Lost, Registration
from z2z.proxy import NAMES_MAX, host_label, instance_names, ttl_s
from z2z.reports import EventName, Report, ServiceStatus, endpoints, shown
from z2z.seal import Site
from z2z.service_item import ServiceItem
from z2z.trust import Known

RETRY_S: Final = 60.0
"Seconds until an import that found no name tries again."

RegistrationId: TypeAlias = tuple[int, int]
"Import and generation: events of an earlier registration of the same import have another generation."


class State(Enum):
    """Where an import stands; the value is the word of `z2z status`."""

    PROBING = "probing"
    VISIBLE = "imported"
    STANDBY = "standby"
    BLOCKED = "blocked"


class Input(Enum):
    """What can happen to an import."""

    REGISTERED = "the name is ours: probing found it free, or the importer that we stood by for is gone"
    NAME_TAKEN = "somebody has the name"
    NAMES_USED_UP = "somebody has the last name to try"
    HOST_TAKEN = "another host has the host name"
    SERVED_ELSEWHERE = "another importer serves the same item"
    UNFIT = "the link cannot carry it"
    RETRY_DUE = "it is time to try again"


class Action(Enum):
    """What is done about it."""

    SAY_VISIBLE = "tell the user"
    NOTHING = "nothing"
    NEXT_NAME = "register under the next name"
    NEXT_HOST = "register with another host name"
    STAND_BY = "leave it to the link to notice the other importer's end"
    GIVE_UP = "wait and begin anew"
    PROBE = "register"


_YIELD: Final = {
    Input.NAME_TAKEN: (State.PROBING, Action.NEXT_NAME),
    Input.NAMES_USED_UP: (State.BLOCKED, Action.GIVE_UP),
    Input.HOST_TAKEN: (State.PROBING, Action.NEXT_HOST),
    Input.SERVED_ELSEWHERE: (State.STANDBY, Action.STAND_BY),
    Input.UNFIT: (State.BLOCKED, Action.GIVE_UP),
}
"The same whether the claim comes while probing or late."
TRANSITIONS: Final[Mapping[tuple[State, Input], tuple[State, Action]]] = {
    (State.PROBING, Input.REGISTERED): (State.VISIBLE, Action.SAY_VISIBLE),
    (State.VISIBLE, Input.REGISTERED): (State.VISIBLE, Action.NOTHING),  # the link was down and is back
    **{(state, what): then for state in (State.PROBING, State.VISIBLE, State.STANDBY) for what, then in _YIELD.items()},
    (State.STANDBY, Input.SERVED_ELSEWHERE): (State.STANDBY, Action.NOTHING),  # the same
    (State.STANDBY, Input.REGISTERED): (State.VISIBLE, Action.SAY_VISIBLE),
    (State.BLOCKED, Input.RETRY_DUE): (State.PROBING, Action.PROBE),
}


ON_LINK: Final = frozenset({State.PROBING, State.VISIBLE, State.STANDBY})
"The link has a registration."


class Register(msgspec.Struct, frozen=True):
    """Effect: publish on the link."""

    registration: Registration


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: publish other data under the same name."""

    id: RegistrationId
    item: ServiceItem


class Withdraw(msgspec.Struct, frozen=True):
    """Effect: take back with goodbyes."""

    id: RegistrationId


class Remember(msgspec.Struct, frozen=True):
    """Effect: keep a site's key beyond this program's end."""

    site: Known


ImportEffect: TypeAlias = Register | Update | Withdraw | Report | Remember


class Neighbours(msgspec.Struct, frozen=True, kw_only=True):
    """What one import must know of the others of this importer."""

    name_free: Callable[[str, bytes], bool]
    "Whether no other import of ours has a name of a type."
    host_free: Callable[[bytes, ServiceItem], bool]
    "Whether no other import of ours uses a host label with other addresses."
    count: Callable[[], int]
    "How many imports there are."


class Presence:
    """One import and its way through the states."""

    def __init__(self, number: int, item: ServiceItem, site: Site, neighbours: Neighbours, rng: Random) -> None:
        self.number, self.item, self.site = number, item, site
        self.state = State.PROBING
        self.reason = ""
        self.host = b""
        self._neighbours, self._rng = neighbours, rng
        self._names = tuple(instance_names(item.instance, site.name))
        self._name_at = self._host_attempt = self._generation = 0
        self._wake_at = math.inf
        self._remaining_s = math.inf
        self._said_name = b""

    @property
    def instance(self) -> bytes:
        """The name that it has or tries on this link."""
        return self._names[self._name_at]

    @property
    def id(self) -> RegistrationId:
        """The id of its present registration."""
        return self.number, self._generation

    def appear(self, remaining_s: float) -> list[ImportEffect]:
        """Register for the first time; `remaining_s` is what is left of the lease."""
        self._remaining_s = remaining_s
        return self._register()

    def leave(self, reason: str) -> list[ImportEffect]:
        """Go from the link for good."""
        return [*self._withdraw(), self.ended(reason)]

    def ended(self, reason: str) -> Report:
        """Return what to tell the user of its end."""
        return self._report("removed", reason=reason)

    def change(self, item: ServiceItem, site: Site) -> list[ImportEffect]:
        """Show other data of the same service."""
        if item == self.item and site == self.site:
            return []
        # Another site that exports the same service takes over without a new name: nothing flickers for clients.
        same_names = (item.addresses, item.instance) == (self.item.addresses, self.item.instance)
        same_item = item == self.item
        gone = [] if same_names else self._withdraw()
        self.item, self.site = item, site
        if same_names:
            if same_item or self.state not in ON_LINK:
                return []
            return [self._report("updated"), Update(id=self.id, item=self._shown_item())]
        # The host label names the address, so another one needs a new registration, whatever the state.
        self._names = tuple(instance_names(item.instance, site.name))
        self._name_at = self._host_attempt = 0
        self.state, self._wake_at = State.PROBING, math.inf
        return [*gone, *self._register()]

    def registered(self) -> list[ImportEffect]:
        """Act on the end of probing."""
        return self._step(Input.REGISTERED, now=0)

    def served_elsewhere(self) -> list[ImportEffect]:
        """Act on another importer of the same item; the registration stands by for it."""
        self.reason = ConflictReason.SAME_ITEM.value
        return self._step(Input.SERVED_ELSEWHERE, now=0)

    def yielded(self, event: Conflict | Lost, now: float) -> list[ImportEffect]:
        """Act on a claim of somebody else; the registration is gone."""
        self.reason = event.reason.value
        match event.reason:
            case ConflictReason.HOST_TAKEN:
                taken = self._host_attempt + 1 >= NAMES_MAX
                return self._step(Input.NAMES_USED_UP if taken else Input.HOST_TAKEN, now)
            case _:  # the instance name
                taken = self._name_at + 1 >= len(self._names)
                return self._step(Input.NAMES_USED_UP if taken else Input.NAME_TAKEN, now)

    def unfit(self, reason: str, now: float) -> list[ImportEffect]:
        """Act on the link's refusal of a registration."""
        self.reason = reason
        gone = self._withdraw()  # after a change, the earlier data are still there
        return [*gone, *self._step(Input.UNFIT, now)]

    def tick(self, now: float) -> list[ImportEffect]:
        """Act on the passing of time."""
        if self._wake_at > now:
            return []
        self._wake_at = math.inf
        return self._step(Input.RETRY_DUE, now)

    def next_deadline(self) -> float:
        """Return when `tick` will have something to do, `math.inf` for never."""
        return self._wake_at

    def status(self, keys: tuple[str, ...]) -> ServiceStatus:
        """Return its line for `z2z status`."""
        return ServiceStatus(
            role="import",
            state=self.state.value,
            service=shown(self.item.instance),
            service_type=self.item.service_type,
            where=endpoints(self.item),
            keys=keys,
            site=self.site.name,
            shown_as=self._shown_as(),
            reason=self.reason,
        )

    def _step(self, what: Input, now: float) -> list[ImportEffect]:
        self.state, action = TRANSITIONS[self.state, what]
        match action:
            case Action.SAY_VISIBLE:
                return self._say_visible()
            case Action.NOTHING:
                return []
            case Action.NEXT_NAME:
                self._name_at += 1
                return self._register()
            case Action.NEXT_HOST:
                self._host_attempt += 1
                return self._register()
            case Action.STAND_BY:
                return [self._report("standby", reason=self.reason)]
            case Action.GIVE_UP:
                self._name_at = self._host_attempt = 0
                self._wake_at = now + RETRY_S
                return [self._report("refused", reason=f"{self.reason}; trying again in {RETRY_S:.0f} s")]
            case Action.PROBE:
                return self._register()

    def _register(self) -> list[ImportEffect]:
        while self._name_at + 1 < len(self._names) and not self._neighbours.name_free(
            self.item.service_type, self.instance
        ):
            self._name_at += 1
        self.host = host_label(self.item.addresses[0], self.site, self._host_attempt)
        while self._host_attempt + 1 < NAMES_MAX and not self._neighbours.host_free(self.host, self.item):
            self._host_attempt += 1
            self.host = host_label(self.item.addresses[0], self.site, self._host_attempt)
        self._generation += 1
        lifetime_s = ttl_s(self._remaining_s, self._neighbours.count())
        return [
            Register(
                Registration(id=self.id, item=self._shown_item(), host_label=self.host, ttl_s=lifetime_s),
            )
        ]

    def _withdraw(self) -> list[ImportEffect]:
        return [Withdraw(self.id)] if self.state in ON_LINK else []

    def _say_visible(self) -> list[ImportEffect]:
        reason, self.reason = self.reason, ""
        before, self._said_name = self._said_name, self.instance
        if before and before != self.instance:
            return [self._report("renamed", reason=reason)]
        return [self._report("imported", reason=reason if self._shown_as() else "")]

    def _shown_item(self) -> ServiceItem:
        return msgspec.structs.replace(self.item, instance=self.instance)

    def _shown_as(self) -> str:
        return shown(self.instance) if self.instance != self.item.instance else ""

    def _report(self, event: EventName, *, reason: str = "") -> Report:
        return Report(
            event=event,
            service=shown(self.item.instance),
            service_type=self.item.service_type,
            where=endpoints(self.item),
            site=self.site.name,
            shown_as=self._shown_as() if event in {"imported", "renamed"} else "",
            reason=reason,
        )
