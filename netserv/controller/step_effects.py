"""Effects of single steps of an installation, each made of the installation and of what the operator allows."""

import msgspec

from netserv.container.installation import Installation
from netserv.controller.dependencies import bytes_max
from netserv.controller.effects import CheckRoutability, Fetch, Install, Notify, Verify
from netserv.controller.jobs import Job, Reason, Wanted
from netserv.controller.manifest_rules import granted_ports
from netserv.controller.policy import Policy
from netserv.controller.states import Action, State
from netserv.errors import LocalProtocolError
from netserv.signaling.nslp.codes import Code

EXPIRED = Reason(Code.GONE, "its time to live is over")


def work_effect(job: Job, action: Action, policy: Policy) -> CheckRoutability | Fetch | Verify | Install:
    """The work of a step, whose result changes the state of an installation."""
    match action:
        case Action.CHECK:
            return _check(job, job.pending or job.wanted, policy)
        case Action.FETCH:
            return _fetch(job, policy)
        case Action.VERIFY:
            return _verify(job, policy)
        case _:
            return _install(job, policy)


def _check(job: Job, wanted: Wanted, policy: Policy) -> CheckRoutability:
    """Have the host that the packets go to show the password of a request."""
    packets, password = wanted.packets, wanted.setup.password
    if packets is None or password is None:
        raise LocalProtocolError(f"installation {job.number} has nothing to show")
    return CheckRoutability(
        job=job.number,
        user=wanted.setup.user,
        address=packets.destination.network_address,
        port=policy.routability_port,
        module=wanted.setup.target,
        password=password,
    )


def _fetch(job: Job, policy: Policy) -> Fetch:
    """Have the bundle."""
    setup, located = job.wanted.setup, job.wanted.located
    return Fetch(
        job=job.number,
        user=setup.user,
        urls=(setup.url,) if located is None else located.urls,
        digest=setup.digest,
        bytes_max=policy.caps.bundle_bytes_max if located is None else min(located.size, bytes_max(policy)),
    )


def _verify(job: Job, policy: Policy) -> Verify:
    """See that its publisher has signed the bundle; that of the index, where it was fetched for another module."""
    setup, located = job.wanted.setup, job.wanted.located
    keys = policy.keys_of(setup.user) if located is None else policy.dependencies.keys_beside(located.publisher)
    return Verify(job=job.number, digest=setup.digest, keys=keys)


def _install(job: Job, policy: Policy) -> Install:
    """Load it."""
    wanted, (bundle, manifest) = job.wanted, job.verified()
    rules = policy.publishers[wanted.setup.user]
    packets = wanted.packets
    installation = Installation(
        account=rules.account,
        manifest=msgspec.structs.replace(manifest, failure=policy.failure_of(manifest.failure)),
        bundle=bundle,
        properties=wanted.setup.properties,
        packets=None if packets is None else msgspec.structs.replace(packets, prematch=manifest.prematch),
        ports=granted_ports(manifest, rules),
    )
    return Install(job=job.number, installation=installation)


def notify_effects(job: Job, action: Action, before: State) -> list[Notify]:
    """The notification of a step, if its publisher wants one and it is news to him."""
    url = job.notification
    if url is None:
        return []
    was_active = job.restored or before is State.REMOVING
    if action is Action.TELL_ACTIVE:
        left_s = job.ends_at - job.since
        again = ", again after a restart of the node" if job.restored else ""
        reason = Reason(Code.OK, f"active for {left_s:.0f} s{again}")
        was_active = False
    elif action in {Action.TELL_FAILED, Action.GIVE_UP}:
        reason = job.failure or Reason(Code.ERROR, "failed")
    else:
        reason = job.reason or EXPIRED
        if action is Action.ABANDON and reason is not EXPIRED and not was_active:
            return []  # who asks for the end of what has not begun has his answer
    return [
        Notify(
            url=url,
            event="removed" if was_active else "installed",
            user=job.wanted.setup.user,
            module=job.target,
            code=reason.code,
            text=reason.text,
        )
    ]
