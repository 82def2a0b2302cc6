"""What a node does about requests: a pure core, `(request, arrival, now) -> (answer, effects)` (thesis 6.1.2).

Signature, nonce, expiry and flow have been checked by the NSLP. Results of effects come in through `lifecycle`.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from netserv.controller.acted import ActedOn
from netserv.controller.authorization import Granted, Unproven, authorise, wanted_packets
from netserv.controller.dependencies import first_lack, needing, places_of, progress
from netserv.controller.effects import Effect, Entry, Forget, ModuleKey, Notify, Remember
from netserv.controller.jobs import Job, Reason, Wanted
from netserv.controller.lifecycle import Lifecycle
from netserv.controller.password_memory import PasswordMemory
from netserv.controller.policy import Policy, Way
from netserv.controller.probing import ModuleFacts, probed_module, probed_node
from netserv.controller.states import State
from netserv.controller.step_effects import EXPIRED
from netserv.signaling.gist.rate import SourceLimits
from netserv.signaling.handler import NodeFacts
from netserv.signaling.nslp import requests
from netserv.signaling.nslp.codes import Code, NslpError
from netserv.signaling.nslp.handling import Answer, Arrival
from netserv.signaling.nslp.requests import Probe, Remove, Request, Setup, Trigger
from netserv.signaling.nslp.signing import signer_of
from netserv.signaling.nslp.values import version_numbers

Outcome = tuple[Answer, list[Effect]]

BEGINNINGS_PER_S: Final = 4.0
"New installations of one publisher, each of which has a bundle fetched; bursts of 9."


class Controller:
    """The controller of one node.

    Args:
        policy: of the operator.
        now: the time, s.
    """

    def __init__(self, policy: Policy, now: float) -> None:
        self.lifecycle = Lifecycle(policy)
        self.facts = NodeFacts()
        "Of the node; the shell puts newer ones in their place."
        self.module_facts: dict[int, ModuleFacts] = {}
        "Of active modules, by job; likewise."
        self._passwords = PasswordMemory(now)
        self._beginnings = SourceLimits(BEGINNINGS_PER_S, now)
        self._acted = ActedOn()

    @property
    def policy(self) -> Policy:
        """Of the operator."""
        return self.lifecycle.policy

    def keys_for(self, request: Request) -> tuple[bytes, ...]:
        """Keys of the publisher."""
        return () if request.user is None else self.policy.keys_of(request.user)

    def decide(self, request: Request, arrival: Arrival, now: float) -> Outcome:
        """Say what is done about a request, and do it.

        Raises:
            NslpError: refused; its code and text are the answer.
        """
        match request:
            case Setup() | Remove():
                noted = self._note(request, arrival, now)
                if isinstance(request, Setup):
                    answer, effects = self._setup(request, arrival, now)
                else:
                    answer, effects = self._remove(request, now)
                return answer, [*noted, *effects]
            case Probe():
                return self._probe(request, now), []
            case Trigger():
                return Answer(code=Code.OK), []

    def change_policy(self, policy: Policy, now: float) -> list[Effect]:
        """Take other rules; what they forbid ends."""
        self.lifecycle.policy = policy
        effects: list[Effect] = []
        for slot in list(self.lifecycle.slots.values()):
            for job in list(slot.jobs()):
                if job.state not in {State.FAILED, State.GONE} and not self._still_allowed(job.wanted):
                    reason = Reason(Code.FORBIDDEN, "the operator has changed what is allowed")
                    effects += self.lifecycle.end(job, reason, now)
        return effects

    def restore(
        self, entries: Iterable[tuple[ModuleKey, Entry]], nonces: Iterable[tuple[bytes, bytes]], now: float
    ) -> list[Effect]:
        """Install again what the journal has; what is over, or not allowed any more, is removed from it and told."""
        effects: list[Effect] = []
        for publisher, nonce in nonces:
            self._acted.add(publisher, nonce, now)
        for key, entry in entries:
            effects += self._restored(key, entry, now)
        return effects

    def entries(self) -> list[tuple[ModuleKey, Entry]]:
        """What the journal is to have of modules."""
        return [
            (key, self.lifecycle.entry(job))
            for key, slot in self.lifecycle.slots.items()
            if slot.recorded and (job := slot.recorded_job) is not None
        ]

    def digests(self, user: str | None = None) -> set[bytes]:
        """Of the bundles that are in use, by one publisher or by all."""
        return {
            job.wanted.setup.digest
            for key, slot in self.lifecycle.slots.items()
            if user in {None, key[0]}
            for job in slot.jobs()
            if job.state is not State.FAILED
        }

    def _note(self, request: Setup | Remove, arrival: Arrival, now: float) -> list[Effect]:
        """Note that a request is acted on."""
        if request.nonce is None or arrival.publisher is None:  # thesis_mode
            return []
        self._acted.add(arrival.publisher, request.nonce, now)
        return [Remember(publisher=arrival.publisher, nonce=request.nonce)]

    def _setup(self, setup: Setup, arrival: Arrival, now: float) -> Outcome:
        rules = self.policy.publishers.get(setup.user)
        if rules is None or arrival.publisher is None:
            raise NslpError(f"publisher {setup.user} is not known here", code=Code.UNAUTHORIZED)
        outcome = authorise(setup, arrival.flow, rules, self.policy)
        wanted = Wanted(
            setup=setup,
            flow=arrival.flow,
            publisher=arrival.publisher,
            packets=outcome.packets,
            way=outcome.way if isinstance(outcome, Granted) else Way.ROUTABILITY,
            granted_s=min(setup.ttl_s, self.policy.caps.ttl_max_s),
        )
        unproven = None if isinstance(outcome, Granted) else outcome
        slot = self.lifecycle.slots.get(wanted.key)
        latest = None if slot is None else slot.latest
        if latest is not None and not latest.is_fetched:
            check_version(setup, latest)
            if only_prolongs(wanted, latest.wanted):
                return self._refresh(latest, wanted, unproven, now)
        lack = first_lack(setup.dependencies, wanted.key, self.lifecycle.slots, self.policy)
        if isinstance(lack, Reason):
            raise NslpError(lack.text, code=lack.code)
        self._check_room(setup, latest, now)
        if unproven is not None:
            self._passwords.use(setup.user, unproven.password, unproven.address.packed, now)
        effects = self._make_room(setup, now)
        effects += self.lifecycle.begin(wanted, now, unproven=unproven is not None)
        text = "work has begun" if lack is None else f"work has begun, and {lack} has to come for it"
        return accepted(wanted, text, Code.ACCEPTED), effects

    def _refresh(self, job: Job, wanted: Wanted, unproven: Unproven | None, now: float) -> Outcome:
        if unproven is None:
            effects = self.lifecycle.prolong(job, wanted, now)
            done = job.state is State.ACTIVE
            return accepted(wanted, f"{job.state.value}, refreshed", Code.OK if done else Code.ACCEPTED), effects
        if job.state is not State.ACTIVE:
            return Answer(code=Code.ACCEPTED, text=f"{job.state.value}: refresh it when it is active"), []
        if job.pending is not None:
            raise NslpError("another refresh is being checked: try again in some seconds", code=Code.TOO_MANY)
        self._passwords.use(wanted.setup.user, unproven.password, unproven.address.packed, now)
        effects = self.lifecycle.check_again(job, wanted, now)
        return accepted(wanted, "refreshed once routability is shown again", Code.ACCEPTED), effects

    def _check_room(self, setup: Setup, latest: Job | None, now: float) -> None:
        """See that another installation finds room.

        Raises:
            NslpError: not now (429), or this node is full (507).
        """
        user, caps = setup.user, self.policy.caps
        if not self._beginnings.take(user, now):
            raise NslpError(f"too many installations of {user}: try again in some seconds", code=Code.TOO_MANY)
        if latest is not None:
            return
        mine, most = places_of(user, self.lifecycle.slots), self.policy.modules_max(user)
        if mine >= most:
            raise NslpError(f"{user} has {mine} modules here, and may have {most}", code=Code.TOO_MANY)
        publishers = {key[0] for key, slot in self.lifecycle.slots.items() if slot.holds_place} | {user}
        if len(publishers) > caps.containers_max:
            raise NslpError(
                f"all {caps.containers_max} containers of this node are in use", code=Code.INSUFFICIENT_STORAGE
            )

    def _make_room(self, setup: Setup, now: float) -> list[Effect]:
        """Forget the oldest failures of a publisher who has as many as he may have modules."""
        failed = [
            job
            for slot in self.lifecycle.slots_of(setup.user)
            for job in slot.jobs()
            if job.state is State.FAILED and not slot.holds_place
        ]
        failed.sort(key=lambda job: job.since)
        effects: list[Effect] = []
        for job in failed[: max(0, len(failed) + 1 - self.policy.modules_max(setup.user))]:
            effects += self.lifecycle.end(job, Reason(Code.OK, "forgotten"), now)
        return effects

    def _remove(self, remove: Remove, now: float) -> Outcome:
        slot = self.lifecycle.slots.get((remove.user, remove.target.name))
        if slot is None:
            raise NslpError(f"{remove.user} has no module {remove.target} here", code=Code.NOT_FOUND)
        meant = [job for job in slot.jobs() if job.wanted.setup.target == remove.target]
        if not meant:
            there = next(slot.jobs()).wanted.setup.target
            raise NslpError(f"{there} is here, not {remove.target}", code=Code.CONFLICT)
        if any(job.is_fetched for job in meant):
            others = needing(remove.target.name, self.lifecycle.slots_of(remove.user))
            names = " and ".join(str(job.target) for job in others)
            raise NslpError(f"{remove.target} is here for {names}: REMOVE that", code=Code.CONFLICT)
        effects: list[Effect] = []
        states = {job.state for job in meant}
        for job in meant:
            job.notification = remove.notification or job.notification
            effects += self.lifecycle.end(job, Reason(Code.OK, "removed by its publisher"), now)
        if states & {State.INSTALLING, State.ACTIVE, State.REMOVING}:
            return Answer(code=Code.ACCEPTED, text="is being removed"), effects
        return Answer(code=Code.OK, text="removed"), effects

    def _probe(self, probe: Probe, now: float) -> Answer:
        target = probe.target
        if target is None:
            return Answer(code=Code.OK, lines=probed_node(self.facts, probe, self.lifecycle))
        if probe.user is None:
            raise NslpError("a PROBE of a module is signed by its publisher", code=Code.FORBIDDEN)
        slot = self.lifecycle.slots.get((probe.user, target.name))
        if slot is None:
            raise NslpError(f"{probe.user} has no module {target} here", code=Code.NOT_FOUND)
        job = next((job for job in slot.jobs() if job.wanted.setup.target == target), None)
        if job is None:
            there = next(slot.jobs()).wanted.setup.target
            raise NslpError(f"{there} is here, not {target}", code=Code.CONFLICT)
        facts = self.module_facts.get(job.number, ModuleFacts())
        return probed_module(job, facts, self.facts, probe.items, now, progress(job, self.lifecycle.slots))

    def _restored(self, key: ModuleKey, entry: Entry, now: float) -> list[Effect]:
        left_s = min(entry.ends_at - now, float(entry.granted_s))
        setup = read_setup(entry.text)
        if setup is None or (setup.user, setup.target.name) != key:
            return [Forget(key=key)]
        reason = EXPIRED if left_s <= 0.0 else None
        wanted = self._wanted_again(setup, entry)
        if wanted is None or not self._still_allowed(wanted):
            reason = reason or Reason(Code.FORBIDDEN, "not allowed any more after a restart of the node")
        if reason is None and wanted is not None:
            return self.lifecycle.begin(wanted, now, unproven=False, restored=left_s, known=entry.found)
        effects: list[Effect] = [Forget(key=key)]
        if setup.notification is not None and reason is not None:
            effects.append(
                Notify(
                    url=setup.notification,
                    event="removed",
                    user=setup.user,
                    module=setup.target,
                    code=reason.code,
                    text=reason.text,
                )
            )
        return effects

    def _wanted_again(self, setup: Setup, entry: Entry) -> Wanted | None:
        """What an entry of the journal wants; None if it is not what a publisher of today has signed."""
        try:
            publisher = signer_of(setup, self.policy.keys_of(setup.user))
            way = Way(entry.way) if entry.way else None
            packets = wanted_packets(setup, entry.flow, self.policy)
        except (NslpError, ValueError):
            return None
        if publisher is None or (packets is None) != (way is None):
            return None
        granted_s = min(entry.granted_s, self.policy.caps.ttl_max_s)
        return Wanted(setup=setup, flow=entry.flow, publisher=publisher, packets=packets, way=way, granted_s=granted_s)

    def _still_allowed(self, wanted: Wanted) -> bool:
        rules = self.policy.publishers.get(wanted.setup.user)
        if wanted.located is not None:
            return rules is not None and bool(self.policy.dependencies.keys_beside(wanted.publisher))
        if rules is None or wanted.publisher not in rules.keys:
            return False
        try:
            outcome = authorise(wanted.setup, wanted.flow, rules, self.policy)
        except NslpError:
            return False
        return isinstance(outcome, Granted) or wanted.way is Way.ROUTABILITY


def check_version(setup: Setup, there: Job) -> None:
    """Refuse a version that is older than what is there, which a sender of old requests would like.

    Raises:
        NslpError: it is older (409).
    """
    version = there.wanted.setup.target.version
    if version_numbers(setup.target.version) < version_numbers(version):
        raise NslpError(f"version {version} is here; REMOVE it before an older one", code=Code.CONFLICT)


def only_prolongs(newer: Wanted, older: Wanted) -> bool:
    """Whether a request leaves the module as it runs.

    Beside what `refreshes` leaves out, what says who is to act and by whose leave makes no other module: a publisher
    who signals towards many hosts meets the routers near him with each.
    """
    setup = msgspec.structs.replace(
        newer.setup,
        flow=older.setup.flow,
        password=older.setup.password,
        node_id=older.setup.node_id,
        around=older.setup.around,
        long_session=older.setup.long_session,
    )
    return requests.refreshes(setup, older.setup) and newer.packets == older.packets


def accepted(wanted: Wanted, text: str, code: Code) -> Answer:
    """The answer with the time to live that was granted."""
    if wanted.granted_s < wanted.setup.ttl_s:
        text = f"{text}; ttl lowered to {wanted.granted_s} s, the most here"
    return Answer(code=code, text=text, lines=(("ttl", str(wanted.granted_s)),))


def read_setup(text: bytes) -> Setup | None:
    """The SETUP of a text; None if it is none."""
    try:
        request = requests.decode(text)
    except NslpError:
        return None
    return request if isinstance(request, Setup) else None
