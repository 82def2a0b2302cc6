"""Whom an importer believes."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.z2z.exports import item, signer, site, stored
from z2z.admission import NEW_SITES_BURST, NEW_SITES_PER_HOUR
from z2z.errors import LocalProtocolError
from z2z.importer import ImportConfig, Importer
from z2z.policy_text import parse_rules
from z2z.presence import Register, Remember, Withdraw
from z2z.reports import Report
from z2z.seal import Site, site_id
from z2z.trust import KNOWN_MAX, Known, Policy, Trust, Verdict, listing, read_listing

OFFICE = "mdht:office"
KEYS = [signer(seed).public_key for seed in range(4)]


def importer(policy: Policy = Policy.FIRST_USE, known: tuple[Known, ...] = ()) -> Importer:
    return Importer(ImportConfig(site=site(9, "here")), Random(1), Trust(policy, known))


def of(kind, effects):
    return [effect for effect in effects if isinstance(effect, kind)]


def reasons(effects) -> list[str]:
    return [report.reason for report in of(Report, effects)]


@pytest.mark.parametrize(
    ("policy", "known", "name", "key", "verdict"),
    [
        (Policy.FIRST_USE, [], "office", 1, Verdict.NEW),
        (Policy.FIRST_USE, [("office", 1)], "office", 1, Verdict.KNOWN),
        (Policy.FIRST_USE, [("office", 1)], "Office", 1, Verdict.KNOWN),
        (Policy.FIRST_USE, [("office", 1)], "office", 2, Verdict.CHANGED),
        (Policy.FIRST_USE, [("office", 1), ("office", 2)], "office", 2, Verdict.KNOWN),
        (Policy.FIRST_USE, [("office", 1)], "lab", 1, Verdict.NEW),
        (Policy.LISTED, [], "office", 1, Verdict.STRANGER),
        (Policy.LISTED, [("office", 1)], "office", 1, Verdict.KNOWN),
        (Policy.LISTED, [("office", 1)], "renamed", 1, Verdict.KNOWN),
        (Policy.LISTED, [("office", 1)], "office", 2, Verdict.STRANGER),
        (Policy.ANYBODY, [("office", 1)], "office", 2, Verdict.KNOWN),
    ],
)
def test_what_is_known_decides(policy: Policy, known: list[tuple[str, int]], name: str, key: int, verdict: Verdict):
    trust = Trust(policy, [Known(each, KEYS[number]) for each, number in known])
    assert trust.judge(Site(id=site_id(KEYS[key]), name=name), KEYS[key]) is verdict


def test_a_listed_site_has_the_names_of_its_key_whatever_it_calls_itself():
    known = [Known("office", KEYS[1]), Known("lab", KEYS[1]), Known("home", KEYS[2])]
    assert Trust(Policy.LISTED, known).names_of(Site(id=site_id(KEYS[1]), name="Home"), KEYS[1]) == {"office", "lab"}
    assert Trust(Policy.FIRST_USE).names_of(Site(id=site_id(KEYS[1]), name="Home"), KEYS[1]) == {"home"}


def test_rules_follow_the_names_that_a_listing_gives():
    rules = parse_rules('default.import = "deny"\n[[rule]]\ndirection = "import"\naction = "allow"\nsite = "Lab"\n')
    core = Importer(
        ImportConfig(site=site(9, "here")), Random(1), Trust(Policy.LISTED, [Known("lab", KEYS[1])]), rules=rules
    )
    assert of(Register, core.seen(OFFICE, stored(item()), 0))
    assert reasons(core.known([Known("office", KEYS[1])])) == ["no rule of the policy allows its import"]


def test_of_too_many_sites_no_more_are_remembered():
    trust = Trust(Policy.FIRST_USE, [Known(f"site {number}", KEYS[1]) for number in range(KNOWN_MAX)])
    assert trust.judge(Site(id=site_id(KEYS[1]), name="one more"), KEYS[1]) is Verdict.FULL


names = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=15).filter(
    lambda text: "#" not in text and text == text.strip() and text.isprintable()
)


@given(st.sets(st.builds(Known, names.map(str.casefold).filter(str.isprintable), st.sampled_from(KEYS)), max_size=8))
def test_a_listing_reads_back(known: set[Known]):
    if all(len(one.name.encode()) <= 63 for one in known):
        assert set(read_listing(listing(known))) == known


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("zz office", "line 1: 'zz' is no key of 64"),
        ("# remark\n\n" + "ab" * 31 + " office", "line 3: "),
        ("ab" * 32, "line 1: site name ''"),
        ("ab" * 32 + " " + "x" * 64, "line 1: site name"),
    ],
)
def test_a_wrong_line_is_named(text: str, complaint: str):
    with pytest.raises(LocalProtocolError, match=complaint):
        read_listing(text)


def test_remarks_and_empty_lines_are_nothing():
    assert read_listing(f"# mine\n\n{KEYS[1].hex().upper()}  The Office  # upstairs\n") == [
        Known("the office", KEYS[1])
    ]


def test_the_first_key_of_a_site_is_remembered_and_another_one_is_refused():
    core = importer()
    effects = core.seen(OFFICE, stored(item()), 0)
    assert [remember.site for remember in of(Remember, effects)] == [Known("office", signer().public_key)]
    assert of(Register, effects)
    assert not of(Remember, core.seen(OFFICE, stored(item(b"Printer")), 0)), "once"
    (reason,) = reasons(core.seen(OFFICE, stored(item(b"Safe"), seed=2), 0))
    assert site(1).id.hex() in reason
    assert site(2).id.hex() in reason
    assert "z2z identity forget 'office'" in reason


def test_a_value_that_is_not_shown_makes_nobody_known():
    core = importer()
    assert not of(Remember, core.seen(OFFICE, stored(item(b"Here", "127.0.0.1")), 0))
    assert of(Remember, core.seen(OFFICE, stored(item(), seed=2), 0))


def test_only_listed_sites_are_believed():
    core = importer(Policy.LISTED, (Known("office", signer(1).public_key),))
    assert of(Register, core.seen(OFFICE, stored(item()), 0))
    (reason,) = reasons(core.seen(OFFICE, stored(item(b"Safe"), seed=2, site_name="lab"), 0))
    assert "not listed" in reason


def test_what_a_site_has_exported_goes_when_it_is_no_more_listed():
    known = Known("office", signer(1).public_key)
    core = importer(Policy.LISTED, (known,))
    core.seen(OFFICE, stored(item()), 0)
    assert core.known([known]) == []
    effects = core.known([])
    assert len(of(Withdraw, effects)) == 1
    assert core.count == 0
    assert of(Register, [*core.known([known]), *core.seen(OFFICE, stored(item()), 1)])


def test_a_site_that_was_forgotten_may_come_with_a_new_key():
    core = importer()
    core.seen(OFFICE, stored(item()), 0)
    assert reasons(core.seen(OFFICE, stored(item(b"Safe"), seed=2), 0))
    assert core.known([]) == [], "what is there stays while its lease runs"
    effects = core.seen(OFFICE, stored(item(b"Safe"), seed=2), 1)
    assert [remember.site.key for remember in of(Remember, effects)] == [signer(2).public_key]
    assert of(Register, effects)


def test_a_site_that_changes_its_key_is_believed_by_both_meanwhile():
    core = importer(known=(Known("office", signer(1).public_key), Known("office", signer(2).public_key)))
    for seed in (1, 2):
        assert of(Register, core.seen(OFFICE, stored(item(b"Printer %d" % seed), seed=seed), 0))


def test_sites_that_somebody_makes_up_do_not_keep_out_those_that_are_known():
    core = importer(known=(Known("office", KEYS[1]),))
    for number in range(10, 10 + NEW_SITES_BURST):  # 9 is this site
        assert of(Remember, core.seen("k", stored(item(b"%d" % number), seed=number, site_name=f"site {number}"), 0))
    late = stored(item(b"late"), seed=250, site_name="late")
    (report,) = core.seen("k", late, 0)
    assert report.event == "refused"
    assert "z2z identity trust" in report.reason
    assert of(Register, core.seen("k", stored(item(b"ours"), seed=1), 0))
    assert not of(Register, core.seen("k", late, 60))
    assert of(Register, core.seen("k", late, 3_600 / NEW_SITES_PER_HOUR + 1))
