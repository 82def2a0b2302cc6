from collections import Counter
from ipaddress import ip_interface
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.z2z.exports import item, signer, site, stored
from z2z.address_map import address_map, parse_mapping
from z2z.importer import ImportConfig, Importer
from z2z.mdns.messages import Conflict, ConflictReason, Registered, StandingBy
from z2z.policy_text import parse_rules
from z2z.presence import Register, Update, Withdraw
from z2z.reports import Report
from z2z.trust import Known, Policy, Trust

OFFICE = "mdht:office"


def importer(**changes) -> Importer:
    return Importer(ImportConfig(site=site(9, "here"), **changes), Random(1))


def of(kind, effects):
    return [effect for effect in effects if isinstance(effect, kind)]


def only_registration(effects):
    (effect,) = of(Register, effects)
    return effect.registration


def reasons(effects):
    return [report.reason for report in of(Report, effects)]


def test_a_value_becomes_a_registration_once():
    core = importer()
    assert only_registration(core.seen(OFFICE, stored(item()), 0)).item == item()
    assert core.seen(OFFICE, stored(item()), 1) == []
    assert core.seen("mdht:other key", stored(item()), 1) == []


def test_a_changed_value_is_an_update_and_an_older_copy_nothing():
    core = importer()
    core.seen(OFFICE, stored(item(), seq=5), 0)
    (update,) = of(Update, core.seen(OFFICE, stored(item(txt=b"\x01x"), seq=6), 1))
    assert update.item.txt == b"\x01x"
    assert core.seen(OFFICE, stored(item(), seq=5), 2) == []


def test_what_its_exporter_removes_goes_at_once_from_its_last_key():
    core = importer()
    core.seen(OFFICE, stored(item()), 0)
    core.seen("mdht:other", stored(item()), 0)
    assert core.removed(OFFICE, stored(item())) == []
    effects = core.removed("mdht:other", stored(item()))
    assert len(of(Withdraw, effects)) == 1
    assert reasons(effects) == ["its exporter took it back"]
    assert core.removed("mdht:other", stored(item())) == []


def test_what_nobody_refreshes_ends_with_its_lease_or_when_stale():
    core = importer(stale_s=100)
    core.seen(OFFICE, stored(item(b"short"), remaining_s=40), 0)
    core.seen(OFFICE, stored(item(b"long"), remaining_s=4_000), 0)
    assert core.next_deadline() == 40
    assert len(of(Withdraw, core.tick(40))) == 1
    assert core.next_deadline() == 100
    assert len(of(Withdraw, core.tick(100))) == 1


def test_a_value_missing_from_two_answers_in_a_row_is_gone():
    core = importer()
    core.snapshot(OFFICE, [stored(item())], 0)
    assert core.snapshot(OFFICE, [], 10) == []
    core.snapshot(OFFICE, [stored(item())], 20)
    assert core.snapshot(OFFICE, [], 30) == []
    assert core.snapshot("mdht:other", [], 30) == []
    assert len(of(Withdraw, core.snapshot(OFFICE, [], 40))) == 1


def test_a_forged_value_is_refused_once_and_never_shown():
    core = importer()
    good = stored(item())
    forged = msgspec.structs.replace(good, value=good.value[:-1] + bytes([good.value[-1] ^ 1]))
    effects = core.seen(OFFICE, forged, 0)
    assert [report.event for report in effects] == ["refused"]
    assert "forged" in effects[0].reason
    assert core.seen(OFFICE, forged, 10) == []
    assert of(Register, core.seen(OFFICE, good, 20))
    assert [row.state for row in core.status()] == ["probing"]


def test_a_forged_copy_does_not_replace_the_true_one():
    core = importer()
    good = stored(item())
    core.seen(OFFICE, good, 0)
    forged = msgspec.structs.replace(good, value=b"anything")
    assert of(Withdraw, core.seen(OFFICE, forged, 1)) == []
    assert core.seen(OFFICE, good, 2) == []


def test_a_value_put_by_another_writer_than_its_signer_is_refused():
    copied = msgspec.structs.replace(stored(item()), writer=b"2" * 32)
    assert "somebody else" in reasons(importer().seen(OFFICE, copied, 0))[0]


def test_a_store_without_writers_relies_on_the_signature():
    assert of(Register, importer().seen(OFFICE, msgspec.structs.replace(stored(item()), writer=b""), 0))


def test_own_exports_are_not_imported_and_that_is_no_news():
    (report,) = importer().seen(OFFICE, stored(item(), seed=9), 0)
    assert report.detail


def test_an_address_of_this_hosts_own_prefix_is_refused():
    core = importer()
    core.set_own_prefixes([ip_interface("198.51.100.1/24")])
    assert "198.51.100.0/24 of this host" in reasons(core.seen(OFFICE, stored(item()), 0))[0]
    mixed = item(b"x", "198.51.100.9", "203.0.113.9")
    made = only_registration(core.seen(OFFICE, stored(mixed), 0))
    assert [str(address) for address in made.item.addresses] == ["203.0.113.9"]


def test_a_refusal_ends_when_its_cause_ends():
    core = importer()
    core.set_own_prefixes([ip_interface("198.51.100.1/24")])
    core.seen(OFFICE, stored(item()), 0)
    core.set_own_prefixes([])
    assert of(Register, core.seen(OFFICE, stored(item()), 10))


def test_loopback_and_link_local_addresses_are_refused_and_private_ones_accepted():
    core = importer()
    assert reasons(core.seen(OFFICE, stored(item(b"a", "127.0.0.1")), 0)) == ["127.0.0.1 is loopback"]
    assert reasons(core.seen(OFFICE, stored(item(b"b", "fe80::1")), 0)) == ["fe80::1 is link-local"]
    assert of(Register, core.seen(OFFICE, stored(item(b"c", "10.0.0.1")), 0))


def test_control_characters_in_a_name_are_refused():
    effects = importer().seen(OFFICE, stored(item("a\x9b31mb".encode())), 0)
    assert reasons(effects) == ["its name has control characters"]


def test_more_imports_than_the_link_bears_are_refused_until_one_goes():
    core = importer(imports_max=1)
    core.seen(OFFICE, stored(item(b"a")), 0)
    assert "1 imports already" in reasons(core.seen(OFFICE, stored(item(b"b")), 0))[0]
    core.removed(OFFICE, stored(item(b"a")))
    assert of(Register, core.seen(OFFICE, stored(item(b"b")), 10))


def test_one_service_exported_by_two_sites_is_one_import_that_survives_either():
    core = importer()
    assert of(Register, core.seen(OFFICE, stored(item(), seed=1), 0))
    assert core.seen(OFFICE, stored(item(), seed=2), 0) == []
    effects = core.removed(OFFICE, stored(item(), seed=1))
    assert of(Withdraw, effects) == []
    assert len(core.status()) == 1
    assert len(of(Withdraw, core.removed(OFFICE, stored(item(), seed=2)))) == 1


def test_two_services_of_one_name_get_two_names():
    core = importer()
    core.seen(OFFICE, stored(item(b"Printer", "198.51.100.7"), seed=1), 0)
    made = only_registration(core.seen(OFFICE, stored(item(b"printer", "203.0.113.7"), seed=2, site_name="lab"), 0))
    assert made.item.instance == b"printer (lab)"


def test_events_of_an_earlier_registration_are_ignored():
    core = importer()
    made = only_registration(core.seen(OFFICE, stored(item()), 0))
    taken = Conflict(id=made.id, reason=ConflictReason.LOCAL_DEVICE, seen=(), source="192.0.2.1")
    again = only_registration(core.link_event(taken, 1))
    assert core.link_event(Registered(id=made.id, instance=b"Tom's Music"), 2) == []
    assert core.link_event(taken, 2) == []
    assert [report.event for report in core.link_event(Registered(id=again.id, instance=b""), 3)] == ["imported"]
    assert core.link_event(Registered(id="not ours", instance=b""), 3) == []


def test_an_import_that_another_importer_shows_stands_by_until_the_link_says_otherwise():
    core = importer()
    made = only_registration(core.seen(OFFICE, stored(item()), 0))
    (report,) = core.link_event(StandingBy(id=made.id, source="192.0.2.1"), 1)
    assert report.event == "standby"
    assert core.next_deadline() > 200  # nothing but the lease
    (report,) = core.link_event(Registered(id=made.id, instance=b"Tom's Music"), 2)
    assert report.event == "imported"


def test_at_the_end_everything_is_reported_removed_and_nothing_is_kept():
    core = importer()
    core.seen(OFFICE, stored(item(b"a")), 0)
    core.seen(OFFICE, stored(item(b"b")), 0)
    assert [report.event for report in core.shutdown("z2z ends")] == ["removed", "removed"]
    assert core.status() == []


def test_a_flood_of_values_stays_within_bounds(monkeypatch):
    monkeypatch.setattr("z2z.importer.SLOTS_MAX", 5)
    core = importer(imports_max=3)
    for number in range(20):
        core.seen(OFFICE, stored(item(b"%d" % number)), 0)
    assert len([row for row in core.status() if row.state == "probing"]) == 3
    assert len([row for row in core.status() if row.state == "refused"]) == 5


def test_what_is_refused_is_counted_once_for_each_value_by_why():
    rules = parse_rules('default.import = "allow"\n[[rule]]\naction = "deny"\nname = "secret*"\n')
    trust = Trust(Policy.FIRST_USE, [Known("office", signer(1).public_key)])
    core = Importer(ImportConfig(site=site(9, "here"), imports_max=2), Random(1), trust, rules=rules)
    core.set_own_prefixes([ip_interface("192.0.2.1/24")])
    good = stored(item(b"good"), seq=2)
    forged = msgspec.structs.replace(good, value=good.value[:-1] + bytes([good.value[-1] ^ 1]), name=b"forged")
    values = {
        "own": stored(item(b"own"), seed=9, site_name="here"),
        "site": stored(item(b"impostor"), seed=2),
        "name": stored(item("next line\x85".encode())),
        "policy": stored(item(b"secret plans")),
        "address": stored(item(b"near", "192.0.2.7")),
        "unreadable": forged,
        "older": stored(item(b"good"), seq=1),
    }
    core.seen(OFFICE, good, 0)
    core.seen(OFFICE, stored(item(b"also good", port=2)), 0)
    values["full"] = stored(item(b"one too many", port=3))
    for _ in range(2):
        for value in values.values():
            assert not of(Register, core.seen(OFFICE, value, 1))
    assert core.counters == dict.fromkeys(values, 1) | {"older": 2}


def shown_by(core: Importer) -> dict[str, int]:
    return dict(Counter(row.site for row in core.status() if row.state == "probing"))


def test_a_full_link_is_shared_evenly_among_sites():
    core = importer(imports_max=10)
    for number in range(12):
        core.seen(OFFICE, stored(item(b"first %d" % number), seed=1, site_name="first"), 0)
    assert shown_by(core) == {"first": 10}
    effects = core.seen(OFFICE, stored(item(b"second"), seed=2, site_name="second"), 1)
    assert [(each.event, each.service) for each in of(Report, effects)] == [("removed", "first 9")]
    assert len(of(Withdraw, effects)) == len(of(Register, effects)) == 1
    for number in range(12):
        core.seen(OFFICE, stored(item(b"second %d" % number), seed=2, site_name="second"), 2)
    assert shown_by(core) == {"first": 5, "second": 5}
    core.seen(OFFICE, stored(item(b"third"), seed=3, site_name="third"), 3)
    assert sorted(shown_by(core).values()) == [1, 4, 5]
    for number in range(12):  # what had to go does not come back, nor push out anybody
        core.seen(OFFICE, stored(item(b"first %d" % number), seed=1, site_name="first"), 4)
    assert sum(shown_by(core).values()) == 10
    assert max(shown_by(core).values()) == 5


STEPS = st.tuples(
    st.sampled_from(["seen", "removed", "snapshot", "wait", "conflict"]),
    st.integers(1, 3),
    st.sampled_from([b"a", b"b"]),
    st.integers(1, 2),
)


@settings(max_examples=60)
@given(st.lists(STEPS, max_size=40), st.integers(1, 6))
def test_registrations_on_the_link_are_always_those_of_the_table(steps, most):
    core, now, seq = importer(imports_max=most), 0.0, 0
    link: dict[object, bytes] = {}

    def perform(effects):
        for effect in effects:
            match effect:
                case Register():
                    assert effect.registration.id not in link
                    name = effect.registration.item.instance.lower()
                    assert name not in link.values()
                    link[effect.registration.id] = name
                case Withdraw():
                    del link[effect.id]
                case Update():
                    assert link[effect.id] == effect.item.instance.lower()

    for what, seed, instance, port in steps:
        now, seq = now + 7, seq + 1
        service = stored(item(instance, f"198.51.100.{seed}", port=port), seed=seed, seq=seq, remaining_s=30)
        match what:
            case "seen":
                perform(core.seen(OFFICE, service, now))
            case "removed":
                perform(core.removed(OFFICE, service))
            case "snapshot":
                perform(core.snapshot(OFFICE, [service], now))
            case "wait":
                perform(core.tick(now))
            case "conflict" if link:
                first = next(iter(link))
                del link[first]
                taken = Conflict(id=first, reason=ConflictReason.LOCAL_DEVICE, seen=(), source="")
                perform(core.link_event(taken, now))
        states = [row.state for row in core.status() if row.state != "refused"]
        assert len(link) <= most
        assert len(link) == len([state for state in states if state in ("probing", "imported")])


def test_an_address_that_other_sites_use_too_is_shown_where_this_link_reaches_it():
    addresses = address_map([parse_mapping("192.168.1.0/24=10.7.0.0/24")])
    core = Importer(ImportConfig(site=site(9, "here")), Random(1), addresses=addresses)
    core.set_own_prefixes([ip_interface("192.168.1.1/24"), ip_interface("192.168.2.1/24")])
    shown = only_registration(core.seen(OFFICE, stored(item(b"a", "192.168.1.5")), 0))
    assert (shown.item, shown.host_label) == (item(b"a", "10.7.0.5"), b"z2z-10-7-0-5-office")
    (reason,) = reasons(core.seen(OFFICE, stored(item(b"b", "192.168.2.5")), 0))
    assert "192.168.2.5 lies in 192.168.2.0/24 of this host" in reason


def test_who_maps_an_import_into_this_link_is_believed():
    addresses = address_map([parse_mapping("10.7.0.5:80=192.168.1.200:8080")])
    core = Importer(ImportConfig(site=site(9, "here")), Random(1), addresses=addresses)
    core.set_own_prefixes([ip_interface("192.168.1.1/24")])
    shown = only_registration(core.seen(OFFICE, stored(item(b"a", "10.7.0.5", port=80)), 0))
    assert shown.item == item(b"a", "192.168.1.200", port=8080)


ONLY_OFFICE = """
default.import = "deny"
[[rule]]
direction = "import"
action = "deny"
name = "*secret*"
reason = "not here"
[[rule]]
direction = "import"
action = "allow"
site = "Office"
"""


def test_rules_decide_what_is_shown_and_a_refusal_names_the_rule():
    core = importer()
    core.set_rules(parse_rules(ONLY_OFFICE))
    assert only_registration(core.seen(OFFICE, stored(item()), 0)).item == item()
    assert reasons(core.seen(OFFICE, stored(item(b"My Secret")), 0)) == ["policy rule 1 denies it: not here"]
    refused = core.seen(OFFICE, stored(item(b"x"), seed=2, site_name="lab"), 0)
    assert reasons(refused) == ["no rule of the policy allows its import"]
    assert sorted((row.state, row.reason) for row in core.status())[1:] == [
        ("refused", "no rule of the policy allows its import"),
        ("refused", "policy rule 1 denies it: not here"),
    ]
    (event,) = core.link_event(Registered(id=(1, 1), instance=b"Tom's Music"), 1)
    assert (event.event, event.allowed_by) == ("imported", "policy rule 2 allows it")


def test_other_rules_take_from_the_link_what_they_deny_and_show_what_they_allow_at_the_next_look():
    core = importer()
    core.seen(OFFICE, stored(item(b"My Secret")), 0)
    core.seen("mdht:other", stored(item(b"My Secret")), 0)
    effects = core.set_rules(parse_rules(ONLY_OFFICE))
    assert len(of(Withdraw, effects)) == 1
    assert reasons(effects) == ["policy rule 1 denies it: not here"]
    assert [(row.state, row.reason) for row in core.status()] == [("refused", "policy rule 1 denies it: not here")]
    assert core.seen(OFFICE, stored(item(b"My Secret")), 1) == [], "it was said"
    assert core.set_rules(parse_rules('default = "allow"')) == []
    assert only_registration(core.snapshot(OFFICE, [stored(item(b"My Secret"))], 2)).item == item(b"My Secret")
    assert [row.state for row in core.status()] == ["probing"]


def test_a_copy_that_rules_deny_is_refused_while_another_exporters_copy_stays():
    core = importer()
    core.seen(OFFICE, stored(item(), seed=2, site_name="lab"), 0)
    core.seen(OFFICE, stored(item()), 0)
    effects = core.set_rules(parse_rules(ONLY_OFFICE))
    assert not of(Withdraw, effects)
    assert [report.event for report in of(Report, effects)] == ["refused"]
    assert sorted(row.state for row in core.status()) == ["probing", "refused"]
