from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.z2z.exports import item, signer, site
from z2z.address_map import address_map, parse_mapping
from z2z.exporter import RETRY_FIRST_S, SERVICES_MAX, TOGETHER, Confirm, ExportConfig, Exporter, Put, Remove
from z2z.keys import dht_key
from z2z.policy_text import parse_rules
from z2z.reports import Report, line
from z2z.seal import unseal


def exporter(**changes) -> Exporter:
    return Exporter(ExportConfig(site=site(), **{"keys": ("office",), **changes}), signer(), Random(1), first_seq=100)


def of(kind, effects):
    return [effect for effect in effects if isinstance(effect, kind)]


def stored_all(core, effects, now=0.0):
    return [report for put in of(Put, effects) for report in core.put_done(put, None, now)]


def test_a_service_goes_under_each_key_and_its_name():
    core = exporter()
    puts = of(Put, core.found(item(), 0))
    assert {put.key for put in puts} == {dht_key("office"), dht_key("Tom's Music")}
    assert {put.lease_s for put in puts} == {300}
    assert unseal(puts[0].value).item == item()
    assert unseal(puts[0].value).site == site()


def test_the_user_is_told_once_when_the_store_has_it_under_all_keys():
    core = exporter()
    puts = of(Put, core.found(item(), 0))
    assert core.put_done(puts[0], None, 1) == []
    assert not core.settled
    (report,) = core.put_done(puts[1], None, 1)
    assert line(report) == "exported Tom's Music (_daap._tcp) 198.51.100.7:3689 as office"
    assert core.settled
    assert core.put_done(puts[1], None, 2) == []


def test_without_a_key_the_name_is_the_key():
    core = exporter(keys=())
    (report,) = stored_all(core, core.found(item(), 0))
    assert line(report) == "exported Tom's Music (_daap._tcp) 198.51.100.7:3689 as Tom's Music"


def test_the_same_service_again_changes_nothing():
    core = exporter()
    core.found(item(), 0)
    assert core.found(item(), 1) == []


def test_a_changed_service_is_put_again_with_a_higher_number():
    core = exporter()
    first = core.found(item(), 0)
    stored_all(core, first)
    second = core.found(item(port=3690), 1)
    assert [report.event for report in of(Report, second)] == ["updated"]
    assert unseal(of(Put, second)[0].value).seq > unseal(of(Put, first)[0].value).seq
    assert of(Put, second)[0].name == of(Put, first)[0].name


def test_a_service_that_leaves_is_removed_under_all_keys_at_once():
    core = exporter()
    core.found(item(), 0)
    effects = core.lost("_daap._tcp", b"TOM'S MUSIC")
    assert {remove.key for remove in of(Remove, effects)} == {dht_key("office"), dht_key("Tom's Music")}
    assert [report.event for report in of(Report, effects)] == ["withdrawn"]
    assert core.lost("_daap._tcp", b"Tom's Music") == []


def test_a_living_service_is_refreshed_after_it_answered():
    core = exporter()
    core.found(item(), 0)
    assert 12 <= core.next_deadline() <= 60
    assert core.tick(11) == []
    assert core.tick(60) == [Confirm(service_type="_daap._tcp", instance=b"Tom's Music")]
    assert core.tick(60) == []
    assert 114 <= core.next_deadline() <= 120
    assert core.tick(120) == []  # the first question is not answered yet
    assert len(of(Put, core.confirmed("_daap._tcp", b"Tom's Music", alive=True))) == 2
    assert of(Confirm, core.tick(180))


def rounds_of(core, services, seconds):
    """Let time pass, all services answering; return how many were asked about at each second."""
    for number in range(services):
        core.found(item(b"%d" % number), 0)
    asked = []
    for second in range(seconds):
        questions = of(Confirm, core.tick(second))
        asked.append(len(questions))
        for question in questions:
            core.confirmed(question.service_type, question.instance, alive=True)
    return asked


def test_a_few_services_are_soon_asked_in_one_and_each_in_time():
    asked = rounds_of(exporter(), 10, 1_200)
    assert asked[600:].count(10) in {10, 11}
    assert set(asked[600:]) == {0, 10}


@pytest.mark.parametrize("services", [100, 1_000])
def test_services_found_in_one_burst_are_asked_twenty_at_a_time(services):
    asked = rounds_of(exporter(), services, 1_200)
    assert services <= sum(asked[:61]) <= 2 * services
    assert max(asked) <= 8 * TOGETHER  # of a second
    minutes = sum(asked[600:]) / services
    assert 10 <= minutes <= 13  # each once a minute, a little early


def test_a_silent_service_counts_as_gone():
    core = exporter()
    core.found(item(), 0)
    effects = core.confirmed("_daap._tcp", b"Tom's Music", alive=False)
    assert len(of(Remove, effects)) == 2
    assert core.confirmed("_daap._tcp", b"Tom's Music", alive=True) == []


def test_a_failed_put_is_said_once_and_tried_again_ever_later():
    core = exporter(keys=(), refresh_s=10_000)
    (put,) = of(Put, core.found(item(), 0))
    (report,) = core.put_done(put, "no node answered", 0)
    assert (report.event, report.reason) == ("failed", "no node answered; trying again")
    now, pauses = 0.0, []
    for _ in range(6):
        due = core.next_deadline()
        pauses.append(due - now)
        now = due
        (put,) = core.tick(now)
        assert core.put_done(put, "no node answered", now) == []
    assert pauses == [RETRY_FIRST_S, 4, 8, 16, 30, 30]
    now = core.next_deadline()
    (put,) = core.tick(now)
    assert [report.event for report in core.put_done(put, None, now)] == ["exported"]


def test_a_late_answer_for_a_gone_service_is_ignored():
    core = exporter()
    (put, _) = of(Put, core.found(item(), 0))
    core.lost("_daap._tcp", b"Tom's Music")
    assert core.put_done(put, "x", 0) == []


def test_a_skip_is_said_once_per_service_and_again_for_another_reason():
    core = exporter()
    private = item(b"x", "192.168.1.5")
    assert [report.event for report in core.found(private, 0)] == ["skipped"]
    assert core.found(private, 1) == []
    assert [report.event for report in core.found(item(b"x", "10.0.0.1"), 2)] == ["skipped"]
    assert [row.state for row in core.status()] == ["skipped"]
    assert [type(effect).__name__ for effect in core.found(item(b"x"), 3)] == ["Put", "Put"]


def test_a_service_that_becomes_private_is_removed():
    core = exporter()
    core.found(item(), 0)
    effects = core.found(item(b"Tom's Music", "192.168.1.5"), 1)
    assert len(of(Remove, effects)) == 2
    assert [report.event for report in of(Report, effects)] == ["withdrawn", "skipped"]


def test_only_exportable_addresses_are_carried():
    core = exporter()
    effects = core.found(item(b"x", "198.51.100.7", "192.168.1.5"), 0)
    assert [str(address) for address in unseal(of(Put, effects)[0].value).item.addresses] == ["198.51.100.7"]
    assert [(report.detail, report.reason) for report in of(Report, effects)] == [
        (True, "not carried: 192.168.1.5 is private")
    ]


def test_an_import_is_never_exported_and_that_is_no_news():
    (report,) = exporter().found(item(host=b"z2z-198-51-100-7-home"), 0)
    assert report.detail


def test_a_refused_service_is_named():
    (report,) = exporter().refused("_daap._tcp", b"x", "TXT data of 20480 bytes")
    assert line(report) == "skipped x (_daap._tcp): TXT data of 20480 bytes"


def test_ending_removes_everything():
    core = exporter()
    core.found(item(b"a"), 0)
    core.found(item(b"b"), 0)
    assert len(of(Remove, core.shutdown())) == 4
    assert core.status() == []


@pytest.mark.timeout(60)
def test_more_services_than_the_cap_are_skipped(monkeypatch):
    monkeypatch.setattr("z2z.exporter.SERVICES_MAX", 2)
    assert SERVICES_MAX >= 1_000
    core = exporter()
    effects = [core.found(item(b"%d" % number), 0) for number in range(3)]
    assert [report.event for report in of(Report, effects[2])] == ["skipped"]


@given(st.lists(st.tuples(st.sampled_from("fcldput"), st.sampled_from([b"a", b"b"]), st.integers(1, 3)), max_size=60))
def test_the_store_ends_up_with_what_is_on_the_link(steps):
    core = exporter(keys=())
    table: dict[bytes, bytes] = {}
    link: dict[bytes, int] = {}
    now = 0.0

    def perform(effects):
        for effect in effects:
            match effect:
                case Put():
                    table[effect.key] = effect.value
                    assert all(isinstance(each, Report) for each in core.put_done(effect, None, now))
                case Remove():
                    table.pop(effect.key, None)

    for what, instance, port in steps:
        now += 10
        match what:
            case "f" | "c":
                link[instance] = port
                perform(core.found(item(instance, port=port), now))
            case "l" | "d":
                link.pop(instance, None)
                perform(core.lost("_daap._tcp", instance))
            case _:
                for effect in core.tick(now):
                    if isinstance(effect, Confirm):
                        perform(core.confirmed(effect.service_type, effect.instance, alive=True))
        assert {key: unseal(value).item.port for key, value in table.items()} == {
            dht_key(name.decode()): port for name, port in link.items()
        }


def test_settings_survive_a_round_trip():
    config = ExportConfig(site=site(), keys=("office",))
    assert msgspec.convert(msgspec.to_builtins(config), ExportConfig) == config


def test_a_service_behind_a_router_goes_out_with_the_address_and_port_that_the_router_forwards():
    addresses = address_map([parse_mapping("192.168.1.5:3689=203.0.113.7:13689")])
    core = Exporter(ExportConfig(site=site(), keys=("office",)), signer(), Random(1), 100, addresses=addresses)
    effects = core.found(item(b"x", "192.168.1.5"), 0)
    assert unseal(of(Put, effects)[0].value).item == item(b"x", "203.0.113.7", port=13689)
    (report,) = stored_all(core, effects)
    assert line(report) == "exported x (_daap._tcp) 203.0.113.7:13689 as office"
    assert core.found(item(b"x", "192.168.1.5"), 1) == []
    assert "192.168.1.6 is private" in of(Report, core.found(item(b"y", "192.168.1.6"), 2))[0].reason
    # The link is asked for it by the name that it has there.
    assert core.tick(70) == [Confirm(service_type="_daap._tcp", instance=b"x")]


DENY_MUSIC = '[[rule]]\naction = "deny"\ntype = "_daap._tcp"\nreason = "it is loud"\n'
BY_RULE = "policy rule 1 denies it: it is loud"


def test_other_rules_withdraw_what_they_deny_and_export_what_they_allow():
    core = exporter()
    stored_all(core, core.found(item(), 0))
    stored_all(core, core.found(item(service_type="_ipp._tcp"), 0))
    effects = core.set_rules(parse_rules(DENY_MUSIC), 1)
    assert len(of(Remove, effects)) == 2
    said = [(report.event, report.reason, report.detail) for report in of(Report, effects)]
    assert said == [("withdrawn", BY_RULE, False), ("skipped", BY_RULE, True)]
    assert {(row.state, row.reason) for row in core.status()} == {("exported", ""), ("skipped", BY_RULE)}
    assert core.set_rules(parse_rules(DENY_MUSIC), 2) == []
    (report,) = of(Report, core.found(item(b"Second"), 2))
    assert (report.event, report.reason, report.detail) == ("skipped", BY_RULE, False)
    effects = core.set_rules(parse_rules('default = "allow"'), 3)
    assert len(of(Put, effects)) == 4
    assert [report.event for report in stored_all(core, effects, 3)] == ["exported", "exported"]
    assert {row.state for row in core.status()} == {"exported"}


def test_a_service_that_left_the_link_is_not_exported_by_rules_that_allow_it():
    core = exporter()
    core.set_rules(parse_rules(DENY_MUSIC), 0)
    core.found(item(), 0)
    core.refused("_daap._tcp", b"broken", "TXT data ends inside a string")
    core.lost("_daap._tcp", b"Tom's Music")
    assert core.set_rules(parse_rules('default = "allow"'), 1) == []


def test_no_rule_lifts_what_z2z_protects_by_itself():
    core = exporter()
    rules = parse_rules('default = "deny"\n[[rule]]\naction = "allow"\n')
    core.set_rules(rules, 0)
    for service in (item(b"a", "10.0.0.1"), item(service_type="_ssh._tcp"), item(txt=b"\x06z2z=no")):
        assert [report.event for report in of(Report, core.found(service, 0))] == ["skipped"]


def test_a_dry_run_says_which_rule_lets_a_service_pass():
    core = exporter()
    core.set_rules(parse_rules('default.export = "deny"\n[[rule]]\ndirection = "export"\naction = "allow"\n'), 0)
    (report,) = stored_all(core, core.found(item(), 0))
    assert line(report).endswith("as office")
    assert line(msgspec.structs.replace(report, dry_run=True)).endswith("as office: policy rule 1 allows it")
