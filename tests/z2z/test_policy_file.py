import pytest

from tests.z2z.exports import item
from z2z.errors import LocalProtocolError
from z2z.policy_file import FILE_MAX, PolicyFile
from z2z.policy_rules import NO_RULES
from z2z.trust import Policy

DENY = '[[rule]]\naction = "deny"\n'
BY_NAME = DENY + 'direction = "import"\nsite = "home"\n'


def test_without_a_file_there_are_no_rules(tmp_path):
    policy = PolicyFile(None, Policy.FIRST_USE)
    assert (policy.read(), policy.describe()) == (NO_RULES, "")


def test_a_file_that_is_faulty_later_changes_nothing_and_is_complained_of(tmp_path, caplog):
    path = tmp_path / "rules.toml"
    path.write_text(DENY)
    policy = PolicyFile(path, Policy.FIRST_USE)
    assert not policy.read().judge_export(item()).allowed
    assert policy.describe() == f"1 rule of {path}"
    path.write_text("[[rule]]\n")
    assert policy.reread() is None
    assert f"policy {path}: rule 1: no action" in caplog.text
    assert "going on with the policy so far" in caplog.text
    assert "as it is now it is not used: policy" in policy.describe()
    path.write_text('default = "allow"\n')
    assert policy.reread().judge_export(item()).allowed
    assert policy.describe() == f"0 rules of {path}"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"\xff", "not UTF-8"), (b"#" * (FILE_MAX + 1), "some other file"), (b"", "it says nothing")],
)
def test_what_is_no_policy_is_refused_with_the_name_of_the_file(tmp_path, content, complaint):
    path = tmp_path / "rules.toml"
    path.write_bytes(content)
    with pytest.raises(LocalProtocolError, match=f"policy {path}: .*{complaint}"):
        PolicyFile(path, Policy.FIRST_USE).read()


def test_a_file_that_is_not_there_or_cannot_be_read_is_refused(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(LocalProtocolError, match=f"policy {path}: "):
            PolicyFile(path, Policy.FIRST_USE).read()


def test_names_of_sites_mean_nothing_where_anybody_is_believed(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text(BY_NAME)
    PolicyFile(path, Policy.FIRST_USE).read()
    with pytest.raises(LocalProtocolError, match="rule 1: site is a name, which with --trust anybody all may take"):
        PolicyFile(path, Policy.ANYBODY).read()
    path.write_text(BY_NAME.replace("home", "ab" * 32))
    PolicyFile(path, Policy.ANYBODY).read()
