"""docs/discovery.md says what the code does."""

import re
from pathlib import Path

import pytest

from netserv_discovery import record as record_module
from netserv_discovery.errors import Refusal
from netserv_discovery.keys import keys_of
from netserv_discovery.location import SIZES
from netserv_discovery.policy import ITEMS, Where
from netserv_discovery.record import RECORD_MAX, SPLIT_BYTES, decode
from tests.netserv_discovery.strategies import UNIX
from tests.netserv_discovery.test_record import RECORD

TEXT = (Path(__file__).parents[2] / "docs" / "discovery.md").read_text()


def test_the_example_is_a_record():
    (example,) = re.findall(r"```\n([0-9a-f\n]+)\n```", TEXT)
    assert decode(bytes.fromhex(example.replace("\n", "")), UNIX) == RECORD


def test_every_field_stands_in_the_table():
    table = TEXT.partition("## Keys")[0]
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| ", table, re.MULTILINE)
    named = [name.strip() for row in rows for name in row.split(",")]
    fields = [
        name.replace("_km", "").replace("_", " ").replace("gist", "GIST")
        for name in record_module._Wire.__struct_fields__
    ]
    assert [name for name in named if name != "field"] == fields


@pytest.mark.parametrize("word", [*Refusal, *ITEMS, *(f"[{where}]" for where in Where)])
def test_every_word_is_told(word):
    assert f"`{word}`" in TEXT or word in TEXT.partition("```toml")[2].partition("```")[0]


def test_every_kind_of_key_is_told():
    kinds = {re.split(r"[:@]", place.text)[0] for place in keys_of(RECORD)}
    assert kinds | {"list", "index"} == set(re.findall(r"`(\w+):[A-Za-z0-9]+`", TEXT.partition("## Keys")[2]))


def test_the_limits_are_told():
    assert f"{RECORD_MAX:,} bytes" in TEXT
    assert f"more than {SPLIT_BYTES}, " in TEXT
    assert ", ".join(map(str, sorted(SIZES)[:-1])) + f" and {max(SIZES)} letters" in TEXT.replace("\n", " ")
