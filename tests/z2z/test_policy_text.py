from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.z2z.exports import item
from z2z.errors import LocalProtocolError
from z2z.policy_rules import Rules
from z2z.policy_text import MISTAKES_MAX, REASON_MAX, RULES_MAX, WORDS_MAX, parse_rules

DENY = '[[rule]]\naction = "deny"\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", r"it says nothing: give a \[\[rule\]\], or a default"),
        ("default = ", "not TOML"),
        ("n = " + "9" * 5_000, "not TOML"),
        ("default = " + "[" * 5_000, "not TOML"),
        ('default = "no"', 'default is "allow" or "deny", not \'no\''),
        ("default = 1", 'default is "allow" or "deny", or a table of them for export and import, not 1'),
        ('default.exports = "deny"', "default: unknown key 'exports': export is meant?"),
        ("default.export = true", 'default.export is "allow" or "deny", not True'),
        ('[rule]\naction = "deny"', r"rule is a list of tables: each begins with \[\[rule\]\], in two brackets"),
        ('[[rules]]\naction = "deny"', "unknown key 'rules': rule is meant\\?"),
        ("rule = [1]", "rule is a list of tables"),
        ("[[rule]]\n", 'rule 1: no action; say action = "allow" or "deny"'),
        ('[[rule]]\naction = "refuse"', 'rule 1: action is "allow" or "deny", not \'refuse\''),
        (
            DENY + 'type = "_a._tcp"\n' + DENY + 'direction = "out"',
            'rule 2: direction is "export" or "import"; without',
        ),
        (DENY + 'direction = ["export"]', 'rule 1: direction is "export" or "import"; without it the rule is for both'),
        (DENY + 'type = "ipp"', "rule 1: type: 'ipp' is not a DNS-SD service type.* for all"),
        (DENY + "type = 5", r'rule 1: type is a text as "_ipp._tcp", or a list of them, not 5'),
        (DENY + "name = []", "rule 1: name is never empty"),
        (DENY + 'name = ""', "rule 1: name is a text"),
        (DENY + 'name = ["a", 1]', "rule 1: name is a text"),
        (DENY + f'name = "{"x" * 127}"', "rule 1: name is a pattern for names of at most 63 bytes"),
        (DENY + f"name = {['x'] * (WORDS_MAX + 1)}", f"name is at most {WORDS_MAX} texts"),
        (DENY + 'site = "home"', 'rule 1: site is for imports only: add direction = "import"'),
        (DENY + 'direction = "export"\nsite = "home"', "rule 1: site is for imports only"),
        (DENY + f'direction = "import"\nsite = "{"x" * 65}"', "site is a name of at most 63 bytes, or a key of 64"),
        (DENY + "reason = 1", "rule 1: reason is a text of at most"),
        (DENY + f'reason = "{"x" * (REASON_MAX + 1)}"', "rule 1: reason is a text of at most"),
        (DENY + 'nmae = "x"', "rule 1: unknown key 'nmae': name is meant\\?"),
        (DENY + "port = 5", "rule 1: unknown key 'port': there are direction, action, type"),
        (DENY + 'default = "allow"', r"rule 1: unknown key 'default': it stands above the first \[\[rule\]\]"),
        (DENY + "force = true", "rule 1: unknown key 'force': a policy only narrows.*--allow-private.*--force-type"),
        (DENY + DENY + 'type = "_a._tcp"', "rule 2 is never reached: rule 1 takes every export and import"),
        (
            f'{DENY}direction = "export"\n{DENY}{DENY}type = "_a._tcp"\ndirection = "export"',
            "rule 3 is never reached: rule 1 takes every export",
        ),
        ('[[rule]]\naction = "allow"\ntype = "_a._tcp"\n', 'all rules for export allow, .* default.export = "deny"'),
        ('default.export = "deny"\n[[rule]]\naction = "allow"\n', "all rules for import allow"),
        (DENY * (RULES_MAX + 1), f"{RULES_MAX + 1} rules; at most {RULES_MAX}"),
    ],
)
def test_each_mistake_is_told_with_its_rule_its_key_and_what_would_be_right(text, complaint):
    with pytest.raises(LocalProtocolError, match=complaint) as caught:
        parse_rules(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1_000


def test_several_mistakes_are_told_together():
    with pytest.raises(LocalProtocolError) as caught:
        parse_rules('[[rule]]\ntype = "x"\n[[rule]]\naction = 1\ntype = "_a._tcp"\n')
    told = str(caught.value).split("; ")
    assert [text.partition(":")[0] for text in told if text.startswith("rule")] == ["rule 1", "rule 1", "rule 2"]
    with pytest.raises(LocalProtocolError, match=f"and {20 - MISTAKES_MAX} more"):
        parse_rules("[[rule]]\n" * 20)


@pytest.mark.parametrize(
    "text",
    [
        'default = "deny"',
        'default = "allow"\n[[rule]]\naction = "allow"\ntype = "_a._tcp"\n',
        '[default]\nexport = "deny"\nimport = "allow"\n',
        DENY,
        DENY + 'type = "*"\nname = "*"\nreason = "all"\n',
        DENY + 'direction = "export"\n' + DENY + 'direction = "import"\nsite = "*"\n',
        DENY + 'direction = "export"\n' + DENY,
    ],
)
def test_what_is_sound_is_read(text):
    assert isinstance(parse_rules(text), Rules)


def test_the_example_of_the_documents_does_what_they_say():
    text = (Path(__file__).parents[2] / "docs" / "z2z.md").read_text()
    rules = parse_rules(text.partition("## Policy")[2].partition("```toml")[2].partition("```")[0])
    outcomes = [
        rules.judge_export(item(b"Printer 2", service_type="_ipp._tcp")),
        rules.judge_export(item(b"Payroll printer", service_type="_ipp._tcp")),
        rules.judge_export(item(b"Tom's Music")),
        rules.judge_export(item(b"Hall left")),
        rules.judge_import(item(), ["Lab"], b"k"),
        rules.judge_import(item(), ["street"], b"k"),
    ]
    assert [each.allowed for each in outcomes] == [True, False, False, True, True, False]
    for outcome in outcomes[:3]:
        assert outcome.by in text


words = st.sampled_from(
    [
        '"allow"',
        '"deny"',
        '"export"',
        '"_ipp._tcp"',
        '"*"',
        '"[a"',
        "1",
        "true",
        "[]",
        '["a", "b"]',
        "{}",
        '"\\u0000"',
        "nan",
    ]
)
keys = st.sampled_from(["action", "direction", "type", "name", "site", "reason", "force", "default", "rule"])
tables = st.dictionaries(keys, words).map(lambda table: "".join(f"{key} = {word}\n" for key, word in table.items()))


@given(st.text(max_size=60) | st.lists(tables, max_size=4).map("[[rule]]\n".join))
def test_any_text_is_a_policy_or_the_error_of_the_caller(text):
    with suppress(LocalProtocolError):
        assert isinstance(parse_rules(text), Rules)
