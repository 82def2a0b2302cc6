import json

import pytest

from mdht.cli_lines import Lines
from mdht.subnet.identity import Subnet, named

SUBNET = Subnet(named("lab"), b"tagtagta", "full")


def test_people_are_told_of_a_policy_that_they_have_not_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines("office", as_json=False)
    lines.settled(SUBNET, "full", adopted=False)
    lines.settled(SUBNET, "full", adopted=True)
    lines.settled(None, "", adopted=False)
    own, adopted, none = capsys.readouterr().out.splitlines()
    assert "policy" not in own
    assert adopted == f"{own}, whose policy is full"
    assert none == "in no subnet"


def test_programs_are_told_the_policy_always(capsys: pytest.CaptureFixture[str]) -> None:
    Lines("office", as_json=True).settled(SUBNET, "full", adopted=True)
    line = json.loads(capsys.readouterr().out)
    assert (line["event"], line["subnet"]) == ("settled", b"tagtagta".hex())
    assert (line["policy"], line["policy_adopted"]) == ("full", True)
