"""docs/controller.md shows what runs."""

import re

from netserv.controller.thesis_xml import _FIELDS, _NODE_FIELDS
from netserv.signaling.nslp.codes import Code
from tools.state_diagrams import DOCS, with_diagrams

TEXT = (DOCS / "controller.md").read_text()


def test_the_diagram_is_that_of_the_table() -> None:
    assert with_diagrams("controller.md", TEXT) == TEXT, "run: python -m tools.state_diagrams --write"


def test_codes_are_those_that_exist_but_for_what_the_nslp_says_itself() -> None:
    codes = {int(code) for code in re.findall(r"^\| ([0-9]{3}) \|", TEXT, re.MULTILINE)}
    assert codes == {int(code) for code in Code} - {Code.GONE}


def test_names_of_the_thesis_form_are_all_told() -> None:
    told = {name.replace("-", "") for name in re.findall(r"`([a-z-]+)`", TEXT)}
    assert set(_FIELDS) | set(_NODE_FIELDS) <= told | {"maxttl"}
