import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.z2z.exports import item, signer
from z2z.policy_rules import NO_RULES, name_pattern
from z2z.policy_text import parse_rules

KEY = signer(3).public_key
POLICY = f"""
default.export = "deny"

[[rule]]
direction = "export"
action = "deny"
name = "*private*"
reason = "its owner asked for that"

[[rule]]
direction = "export"
action = "allow"
type = ["_ipp._tcp", "_IPPS._tcp.local."]

[[rule]]
direction = "export"
action = "allow"
type = "_daap._tcp"
name = ["Tom*", "Music ?", "Bü[rc]o"]

[[rule]]
direction = "import"
action = "allow"
site = ["Home", "{KEY.hex()}"]
type = "*"

[[rule]]
direction = "import"
action = "deny"
reason = "only those sites"
"""


@pytest.mark.parametrize(
    ("service", "allowed", "by"),
    [
        (item(b"Printer", service_type="_ipp._tcp"), True, "policy rule 2 allows it"),
        (item(b"Printer", service_type="_ipps._tcp"), True, "policy rule 2 allows it"),
        (item(b"My PRIVATE one", service_type="_ipp._tcp"), False, "policy rule 1 denies it: its owner asked for that"),
        (item(b"TOM'S Music"), True, "policy rule 3 allows it"),
        (item(b"music 1"), True, "policy rule 3 allows it"),
        (item(b"music 12"), False, "no rule of the policy allows its export"),
        (item("BÜRO".encode()), True, "policy rule 3 allows it"),
        (item("BU\u0308RO".encode()), True, "policy rule 3 allows it"),  # the same letters, decomposed
        (item(b"Other"), False, "no rule of the policy allows its export"),
    ],
)
def test_the_first_rule_that_matches_decides_what_goes_out(service, allowed, by):
    ruling = parse_rules(POLICY).judge_export(service)
    assert (ruling.allowed, ruling.by) == (allowed, by)


@pytest.mark.parametrize(
    ("sites", "key", "allowed", "by"),
    [
        (["home"], b"k", True, "policy rule 4 allows it"),
        (["HOME"], b"k", True, "policy rule 4 allows it"),
        (["elsewhere"], KEY, True, "policy rule 4 allows it"),
        (["elsewhere", "home"], b"k", True, "policy rule 4 allows it"),
        (["elsewhere"], b"k", False, "policy rule 5 denies it: only those sites"),
        ([], b"", False, "policy rule 5 denies it: only those sites"),
    ],
)
def test_rules_for_imports_go_by_the_site(sites, key, allowed, by):
    ruling = parse_rules(POLICY).judge_import(item(), sites, key)
    assert (ruling.allowed, ruling.by) == (allowed, by)


def test_without_a_policy_all_is_allowed_and_nothing_is_said():
    for ruling in (NO_RULES.judge_export(item()), NO_RULES.judge_import(item(), ["x"], KEY)):
        assert (ruling.allowed, ruling.by) == (True, "")


def test_a_rule_without_a_direction_is_for_both():
    rules = parse_rules('[[rule]]\naction = "deny"\ntype = "_daap._tcp"\n')
    assert not rules.judge_export(item()).allowed
    assert not rules.judge_import(item(), ["x"], KEY).allowed
    assert (
        rules.judge_export(item(service_type="_ipp._tcp")).by
        == "no rule of the policy matches, and its default allows it"
    )


@given(st.text(max_size=20), st.text(max_size=63))
def test_any_pattern_takes_any_name_without_an_error(pattern, name):
    name_pattern(pattern).fullmatch(name)


def test_no_name_makes_a_pattern_slow():
    pattern = name_pattern("*a" * 60)  # an expression that searches back would not come to an end
    assert pattern.fullmatch("a" * 59 + "b") is None
