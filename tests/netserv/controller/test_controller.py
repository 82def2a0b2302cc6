"""What a node does about requests, by table and by story; nothing here does I/O."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from netserv.controller.controller import Controller
from netserv.controller.effects import (
    Abandon,
    CheckRoutability,
    Effect,
    Fetch,
    Forget,
    Install,
    Notify,
    Record,
    Uninstall,
    Verify,
)
from netserv.controller.policy import Caps, Policy
from netserv.controller.states import State
from netserv.modules.manifest import Manifest, PortWish
from netserv.signaling.gist.addresses import packed
from netserv.signaling.nslp.codes import Code
from netserv.signaling.nslp.values import Dependency, Flow, ModuleRef
from tests.netserv.controller.wishes import (
    FLOW,
    MONITOR,
    PASSWORD,
    answered,
    ask,
    kinds,
    manifest,
    policy,
    probe,
    publisher,
    remove,
    setup,
)

BUNDLE = Path("/spool/monitor.zip")
KEY = ("alice", MONITOR.name)


def controller(**changes: Any) -> Controller:
    return Controller(policy(**changes), 0.0)


def carry_out(made: Controller, effects: list[Effect], now: float, opened: Manifest | None = None) -> list[Effect]:
    """Play the shell: all that is asked for succeeds. Returns all effects."""
    done: list[Effect] = []
    todo = list(effects)
    life = made.lifecycle
    while todo:
        effect = todo.pop(0)
        done.append(effect)
        match effect:
            case CheckRoutability(job=job):
                todo += life.routable(job, now)
            case Fetch(job=job):
                todo += life.fetched(job, BUNDLE, now)
            case Verify(job=job):
                todo += life.verified(job, opened or manifest(target_of(made, job)), now)
            case Install(job=job):
                todo += life.installed(job, now)
            case Uninstall(job=job):
                todo += life.removed(job, now)
            case _:
                pass
    return done


def target_of(made: Controller, number: int) -> ModuleRef:
    job = made.lifecycle.job(number)
    assert job is not None
    return job.wanted.setup.target


def install(made: Controller, now: float = 0.0, user: str = "alice", **changes: Any) -> list[Effect]:
    code, effects = ask(made, setup(user, **changes), now)
    assert code in {200, 202}
    return carry_out(made, effects, now)


def state(made: Controller, key: tuple[str, str] = KEY) -> State | None:
    slot = made.lifecycle.slots.get(key)
    return None if slot is None else next(slot.jobs()).state


def test_a_setup_is_fetched_verified_installed_recorded_and_told() -> None:
    made = controller()
    effects = install(made)
    assert kinds(effects) == ["Remember", "Fetch", "Verify", "Install", "Record", "Notify"]
    installation = next(effect.installation for effect in effects if isinstance(effect, Install))
    assert installation.account.name == "alice"
    assert installation.bundle == BUNDLE
    assert installation.packets is not None
    assert installation.packets.destination == ip_network("10.1.0.2/32")
    assert installation.packets.ports == (5060,)
    notify = effects[-1]
    assert isinstance(notify, Notify)
    assert (notify.event, notify.code, notify.text) == ("installed", 200, "active for 3600 s")
    assert state(made) is State.ACTIVE


def test_the_answer_says_what_ttl_was_granted() -> None:
    made = controller()
    answer, _ = answered(made, setup(ttl_s=4_000_000))
    assert answer.code == 202
    assert answer.lines == (("ttl", "86400"),)
    assert answer.text == "work has begun; ttl lowered to 86400 s, the most here"


def test_a_module_ends_with_its_time_and_leaves_nothing() -> None:
    made = controller()
    install(made, 10.0)
    assert made.lifecycle.next_deadline() == 3_610.0
    assert made.lifecycle.tick(3_609.9) == []
    effects = carry_out(made, made.lifecycle.tick(3_610.0), 3_610.0)
    assert kinds(effects) == ["Uninstall", "Forget", "Notify"]
    notify = effects[-1]
    assert isinstance(notify, Notify)
    assert (notify.event, notify.code) == ("removed", 410)
    assert not made.lifecycle.slots
    assert made.lifecycle.next_deadline() == float("inf")


def test_a_refresh_prolongs_and_does_nothing_else() -> None:
    made = controller()
    install(made)
    answer, effects = answered(made, setup(ttl_s=100), 50.0)
    assert answer.code == 200
    assert kinds(effects) == ["Remember", "Record"]
    assert made.lifecycle.next_deadline() == 150.0


def test_a_refresh_for_another_flow_prolongs_too_and_takes_no_time_away() -> None:
    made = controller()
    install(made)
    other = Flow(FLOW.source, packed("10.9.0.77"))
    assert answered(made, setup(ttl_s=100, flow=other), 50.0)[0].code == 200
    assert made.lifecycle.next_deadline() == 3_600.0
    assert answered(made, setup(flow=other), 60.0)[0].code == 200
    assert made.lifecycle.next_deadline() == 3_660.0


def test_other_properties_restart_the_module() -> None:
    made = controller()
    install(made)
    effects = install(made, 5.0, properties=(("port", "1"),))
    assert kinds(effects) == ["Remember", "Fetch", "Verify", "Uninstall", "Notify", "Install", "Record", "Notify"]
    slot = made.lifecycle.slots[KEY]
    assert slot.coming is None
    assert slot.running is not None
    assert slot.running.state is State.ACTIVE
    assert slot.running.wanted.setup.properties == (("port", "1"),)


def test_the_old_module_stays_when_its_successor_cannot_be_had() -> None:
    made = controller()
    install(made)
    _, effects = ask(made, setup(properties=(("port", "1"),)), 5.0)
    fetch = next(effect for effect in effects if isinstance(effect, Fetch))
    told = made.lifecycle.failed(fetch.job, Code.NOT_FOUND, "the server answers 404", 6.0)
    assert kinds(told) == ["Notify"]
    slot = made.lifecycle.slots[KEY]
    assert slot.running is not None
    assert slot.running.state is State.ACTIVE
    assert slot.recorded
    assert ask(made, probe())[0] == 404


def test_a_newer_version_takes_the_place_and_an_older_one_is_refused() -> None:
    made = controller()
    install(made)
    newer = ModuleRef(MONITOR.name, "1.1.0")
    effects = install(made, 1.0, target=newer)
    assert "Uninstall" in kinds(effects)
    answer, effects = answered(made, setup(), 2.0)
    assert (answer.code, effects) == (409, [])
    assert "1.1.0 is here" in answer.text
    assert ask(made, remove())[0] == 409
    assert ask(made, probe())[0] == 409
    assert ask(made, probe(target=newer))[0] == 200


def test_remove_takes_all_away_and_only_its_owners_does() -> None:
    made = controller()
    install(made)
    assert ask(made, remove("bob"))[0] == 404
    assert state(made) is State.ACTIVE
    code, effects = ask(made, remove(), 1.0)
    assert code == 202
    effects = carry_out(made, effects, 1.0)
    assert kinds(effects) == ["Remember", "Uninstall", "Forget", "Notify"]
    assert not made.lifecycle.slots
    assert ask(made, remove(), 2.0)[0] == 404


def test_a_remove_overtakes_the_installation() -> None:
    made = controller()
    code, effects = ask(made, setup())
    assert code == 202
    fetch = next(effect for effect in effects if isinstance(effect, Fetch))
    code, effects = ask(made, remove(), 1.0)
    assert code == 200
    assert Abandon(job=fetch.job) in effects
    assert made.lifecycle.fetched(fetch.job, BUNDLE, 2.0) == []
    assert made.lifecycle.stale == 1


def test_a_remove_during_the_installation_waits_for_the_containers_word() -> None:
    made = controller()
    _, effects = ask(made, setup())
    job = next(effect.job for effect in effects if isinstance(effect, Fetch))
    made.lifecycle.fetched(job, BUNDLE, 0.0)
    made.lifecycle.verified(job, manifest(), 0.0)
    _, effects = ask(made, remove(), 1.0)
    assert Uninstall(job=job) in effects
    assert made.lifecycle.installed(job, 1.5) == []
    assert state(made) is State.REMOVING
    assert kinds(made.lifecycle.removed(job, 2.0)) == ["Notify"]
    assert not made.lifecycle.slots


def test_a_setup_during_removal_is_installed_after_it() -> None:
    made = controller()
    install(made)
    _, removing = ask(made, remove(), 1.0)
    _, effects = ask(made, setup(), 1.5)
    job = next(effect.job for effect in effects if isinstance(effect, Fetch))
    made.lifecycle.fetched(job, BUNDLE, 1.6)
    assert made.lifecycle.verified(job, manifest(), 1.7) == []
    old = next(effect.job for effect in removing if isinstance(effect, Uninstall))
    assert kinds(made.lifecycle.removed(old, 1.8)) == ["Notify", "Install"]


def test_a_module_that_its_container_gives_up_is_taken_away_and_told() -> None:
    made = controller()
    effects = install(made)
    job = next(effect.job for effect in effects if isinstance(effect, Install))
    effects = carry_out(made, made.lifecycle.failed(job, Code.ERROR, "it raises", 5.0), 5.0)
    assert kinds(effects) == ["Uninstall", "Forget", "Notify"]
    answer, _ = answered(made, probe(), 6.0)
    assert (answer.code, answer.text) == (500, "failed: it raises")
    install(made, 7.0)
    assert state(made) is State.ACTIVE


def test_a_module_that_its_container_gave_up_is_forgotten_when_its_time_is_over() -> None:
    made = controller()
    effects = install(made)
    job = next(effect.job for effect in effects if isinstance(effect, Install))
    carry_out(made, made.lifecycle.failed(job, Code.ERROR, "it raises", 5.0), 5.0)
    assert made.lifecycle.tick(3_599.0) == []
    made.lifecycle.tick(3_600.0)
    assert not made.lifecycle.slots


def test_what_others_say_of_a_failure_is_made_fit_for_a_line() -> None:
    made = controller()
    _, effects = ask(made, setup())
    job = next(effect.job for effect in effects if isinstance(effect, Fetch))
    (notify,) = made.lifecycle.failed(job, Code.ERROR, " Trace\nback\x00 \x1b[31m\ud800" + "x" * 1_000, 1.0)
    assert isinstance(notify, Notify)
    assert notify.text.isprintable()
    answer, _ = answered(made, probe())
    assert answer.code == 500
    assert answer.text.startswith("failed: Trace back [31m xxx")


def test_a_failure_is_remembered_until_its_time_is_over() -> None:
    made = controller()
    _, effects = ask(made, setup(ttl_s=60))
    job = next(effect.job for effect in effects if isinstance(effect, Fetch))
    made.lifecycle.failed(job, Code.TOO_LARGE, "too large", 1.0)
    assert ask(made, probe(), 59.0)[0] == 413
    made.lifecycle.tick(60.0)
    assert ask(made, probe(), 60.0)[0] == 404


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"user": "bob", "filter_dst": ip_network("10.1.0.2/32")}, 403),
        ({"filter_dst": ip_network("0.0.0.0/0")}, 403),
        ({"filter_dst": ip_network("::/0")}, 403),
        ({"filter_dst": ip_network("10.0.0.0/8")}, 403),
        ({"filter_dst": ip_network("10.2.0.0/24")}, 403),
        ({"filter_dst": ip_network("127.0.0.1/32")}, 403),
        ({"filter_dst": ip_network("224.0.0.1/32")}, 403),
        ({"filter_dst": ip_network("255.255.255.255/32")}, 403),
        ({"filter_ports": (5060, 270)}, 403),
        ({"filter_proto": "sctp"}, 403),
        ({"filter_dst": ip_network("192.0.2.1/32"), "password": None}, 403),
        ({"filter_dst": ip_network("10.1.7.0/24")}, 202),
        ({"filter_ports": (), "filter_proto": None}, 202),
    ],
)
def test_traffic_that_is_not_the_publishers_is_refused(changes: dict[str, Any], code: int) -> None:
    made = controller()
    user = changes.pop("user", "alice")
    assert ask(made, setup(user, **changes))[0] == code


@pytest.mark.parametrize(
    ("changes", "wish", "code"),
    [
        ({}, {"requires": ("dispatcher>=1.2",)}, None),
        ({}, {"requires": ("dispatcher>=2",)}, 424),
        ({}, {"version": "1.0.1"}, 400),
        ({}, {"version": "1.0"}, None),
        ({}, {"name": "NetServ.apps.Other"}, 400),
        ({}, {"kind": "server"}, 400),
        ({"filter_ports": (), "filter_proto": None}, {"kind": "packet"}, 400),
        ({}, {"ports": (PortWish("tcp", 8080),)}, None),
        ({}, {"ports": (PortWish("tcp", 8081),)}, 403),
        ({}, {"ports": (PortWish("udp", 8080),)}, 403),
    ],
)
def test_a_bundle_has_to_be_what_was_asked_for(changes: dict[str, Any], wish: dict[str, Any], code: int | None) -> None:
    made = controller()
    _, effects = ask(made, setup(**changes))
    effects = carry_out(made, effects, 0.0, manifest(**wish))
    installed = [effect for effect in effects if isinstance(effect, Install)]
    if code is None:
        assert installed
        return
    assert not installed
    assert ask(made, probe())[0] == code


def test_a_module_that_runs_serves_the_next_one() -> None:
    made = controller()
    base = ModuleRef("NetServ.base", "2.0")
    install(made, 0.0, target=base)
    install(made, 0.0, dependencies=(Dependency("NetServ.base", "1.9"),))
    assert state(made) is State.ACTIVE
    answer, effects = answered(made, setup("bob", dependencies=(Dependency("NetServ.base"),)))
    assert (answer.code, effects) == (424, []), "it is alice's, in her container"
    assert answer.text == "NetServ.base is not here"
    answer, _ = answered(made, setup(target=ModuleRef("m", "1"), dependencies=(Dependency("NetServ.base", "2.1"),)))
    assert (answer.code, answer.text) == (424, "NetServ.base>=2.1 is needed, and 2.0 is here")


def test_places_are_counted() -> None:
    made = controller(caps=Caps(modules_per_publisher_max=2, containers_max=1))
    for number in range(2):
        install(made, 0.0, target=ModuleRef(f"m{number}", "1"))
    answer, _ = answered(made, setup(target=ModuleRef("m2", "1")))
    assert (answer.code, answer.text) == (429, "alice has 2 modules here, and may have 2")
    assert ask(made, setup("bob"))[0] == 507
    assert ask(made, setup(target=ModuleRef("m1", "1"), properties=(("a", "b"),)))[0] == 202, "in its own place"


def test_failures_take_no_place_and_are_bounded() -> None:
    made = controller(caps=Caps(modules_per_publisher_max=2))
    for number in range(10):
        _, effects = ask(made, setup(target=ModuleRef(f"m{number}", "1")), float(number))
        job = next(effect.job for effect in effects if isinstance(effect, Fetch))
        made.lifecycle.failed(job, Code.NOT_FOUND, "gone", float(number))
    assert len(made.lifecycle.slots) == 2


def test_installations_of_one_publisher_have_a_rate() -> None:
    made = controller()
    codes = [ask(made, setup(properties=(("n", str(number)),)))[0] for number in range(20)]
    assert codes.count(202) == 9
    assert codes.count(429) == 11
    assert ask(made, setup("bob"))[0] == 202
    assert ask(made, setup(properties=(("n", "x"),)), 1.0)[0] == 202


def test_other_rules_end_what_they_forbid() -> None:
    made = controller()
    install(made)
    install(made, 0.0, "bob")
    only_bob = policy().publishers | {}
    del only_bob["alice"]
    effects = carry_out(made, made.change_policy(policy(publishers=only_bob), 1.0), 1.0)
    assert kinds(effects) == ["Uninstall", "Forget", "Notify"]
    assert list(made.lifecycle.slots) == [("bob", MONITOR.name)]
    smaller = Policy(publishers={"bob": publisher("bob", "10.3.0.0/16")})
    assert "Uninstall" in kinds(made.change_policy(smaller, 2.0))


def test_the_failure_policy_is_the_modules_where_the_operator_allows_it() -> None:
    for allowed, expected in ((("open", "closed"), "closed"), (("open", "reload"), "open")):
        made = controller(failures_allowed=allowed)
        _, effects = ask(made, setup())
        effects = carry_out(made, effects, 0.0, manifest(failure="closed"))
        installation = next(effect.installation for effect in effects if isinstance(effect, Install))
        assert installation.manifest.failure == expected


def test_what_is_installed_after_a_restart_is_what_was_valid() -> None:
    before = controller()
    install(before)
    install(before, 0.0, "bob")
    entries = before.entries()
    assert [key for key, _ in entries] == [KEY, ("bob", MONITOR.name)]
    only_alice = {"alice": policy().publishers["alice"]}
    after = controller(publishers=only_alice)
    effects = carry_out(after, after.restore(entries, [], 1_000.0), 1_000.0)
    assert kinds(effects) == ["Fetch", "Forget", "Notify", "Verify", "Install", "Record", "Notify"]
    assert after.lifecycle.next_deadline() == 3_600.0
    told = [effect for effect in effects if isinstance(effect, Notify)]
    assert [(one.user, one.event, one.code) for one in told] == [("bob", "removed", 403), ("alice", "installed", 200)]


def test_what_is_over_after_a_restart_is_not_installed() -> None:
    before = controller()
    install(before)
    after = controller()
    effects = after.restore(before.entries(), [], 3_600.0)
    assert kinds(effects) == ["Forget", "Notify"]
    assert not after.lifecycle.slots


def test_an_entry_that_was_changed_is_dropped() -> None:
    before = controller()
    install(before)
    ((key, entry),) = before.entries()
    for text in (b"rubbish", entry.text.replace(b"5060", b"5061"), b""):
        changed = type(entry)(
            text=text,
            flow=entry.flow,
            publisher=entry.publisher,
            way=entry.way,
            granted_s=entry.granted_s,
            ends_at=entry.ends_at,
        )
        effects = controller().restore([(key, changed)], [], 1.0)
        assert Forget(key=key) in effects
        assert "Fetch" not in kinds(effects)


def test_a_request_is_acted_on_once_even_over_a_restart() -> None:
    made = controller()
    request = setup()
    code, effects = ask(made, request)
    assert code == 202
    assert ask(made, request, 1.0) == (403, [])
    nonces = [(effect.publisher, effect.nonce) for effect in effects if hasattr(effect, "nonce")]
    again = controller()
    again.restore([], nonces, 5.0)
    assert ask(again, request, 6.0) == (403, [])
    assert ask(again, setup(), 6.0)[0] == 202


def test_routability_is_checked_before_anything_is_fetched() -> None:
    made = controller()
    wish = setup(filter_dst=ip_network("192.0.2.7/32"), password=PASSWORD)
    code, effects = ask(made, wish)
    assert code == 202
    assert kinds(effects) == ["Remember", "CheckRoutability"]
    check = effects[1]
    assert isinstance(check, CheckRoutability)
    assert (str(check.address), check.port, check.password) == ("192.0.2.7", 80, PASSWORD)
    effects = made.lifecycle.unroutable(check.job, "another password", 1.0)
    assert kinds(effects) == ["Notify"]
    assert ask(made, probe())[0] == 403


def test_a_refresh_shows_routability_again() -> None:
    made = controller()
    far = ip_network("192.0.2.7/32")
    install(made, filter_dst=far, password=PASSWORD)
    assert ask(made, setup(filter_dst=far, password=PASSWORD), 10.0) == (403, []), "used"
    code, effects = ask(made, setup(filter_dst=far, password=PASSWORD[::-1]), 100.0)
    assert code == 202
    assert kinds(effects) == ["Remember", "CheckRoutability"]
    assert made.lifecycle.next_deadline() == 3_600.0
    check = effects[1]
    assert isinstance(check, CheckRoutability)
    assert check.password == PASSWORD[::-1]
    assert kinds(made.lifecycle.routable(check.job, 101.0)) == ["Record"]
    assert made.lifecycle.next_deadline() == 3_701.0


def test_a_refresh_that_shows_nothing_changes_nothing() -> None:
    made = controller()
    far = ip_network("192.0.2.7/32")
    install(made, filter_dst=far, password=PASSWORD)
    _, effects = ask(made, setup(filter_dst=far, password=PASSWORD[::-1]), 100.0)
    check = effects[1]
    assert isinstance(check, CheckRoutability)
    assert made.lifecycle.unroutable(check.job, "no", 101.0) == []
    assert state(made) is State.ACTIVE
    assert made.lifecycle.next_deadline() == 3_600.0
    assert not any(isinstance(effect, Record) for effect in effects)
    assert ask(made, setup(filter_dst=far, password=f"{PASSWORD}2"), 110.0)[0] == 202, "another one may"
    assert ask(made, setup(filter_dst=far, password=f"{PASSWORD}3"), 120.0)[0] == 429, "but one at a time"


def test_probes_tell_how_a_module_stands_to_its_owner_alone() -> None:
    made = controller()
    install(made)
    items = ("status", "address", "capabilities", "policy", "modules", "blocks", "load", "moon")
    answer, _ = answered(made, probe("alice", *items), 100.0)
    assert answer.code == 200
    lines = dict(answer.lines)
    assert lines["status"] == "active, for 100 s, 3500 s left"
    assert lines["policy"] == "ttl=3600,authorization=prefix,filter=udp 5060 to 10.1.0.2/32,failure=open"
    assert lines["modules"] == "NetServ.apps.NetMonitor_1.0.0"
    assert lines["unsupported"] == "moon"
    assert ask(made, probe("bob"))[0] == 404


def test_a_probe_of_the_node_shows_own_modules_and_the_rules() -> None:
    made = controller()
    install(made)
    lines = dict(answered(made, probe("alice", "modules", "blocks", "policy", target=None))[0].lines)
    assert lines["modules"] == "NetServ.apps.NetMonitor_1.0.0 active"
    assert lines["blocks"] == "dispatcher_1.2,timers_1.0"
    assert lines["policy"] == "ttl-max=86400,modules-max=16,authorization=prefix routability,failure=open"
    assert dict(answered(made, probe("bob", "modules", target=None))[0].lines)["modules"] == ""
