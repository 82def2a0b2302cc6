"""What docs/nslp.md shows is what the code reads and writes."""

import re
from pathlib import Path

import msgspec

from mdht.signing import SigningKey
from netserv.signaling.nslp import requests, responses
from netserv.signaling.nslp.codes import Code
from netserv.signaling.nslp.headers import RULES, Method
from netserv.signaling.nslp.publishers import read_publishers
from netserv.signaling.nslp.signing import signed, signer_of

PAGE = (Path(__file__).parents[4] / "docs" / "nslp.md").read_text()
EXAMPLES = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
ALICE = SigningKey.from_seed(bytes(range(32)))


def test_the_page_has_an_example_of_each_method() -> None:
    assert [example.split(" ")[0] for example in EXAMPLES] == list(Method)


def test_the_examples_are_alices_and_written_as_they_stand() -> None:
    (line,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    keys = read_publishers(line).keys_of("alice")
    assert keys == (ALICE.public_key,)
    for example in EXAMPLES[:4]:
        request = requests.decode(example.encode())
        assert signer_of(request, keys) == ALICE.public_key
        anew = msgspec.structs.replace(request, signature=None, text=b"")
        assert requests.encode(signed(anew, ALICE)).decode() == example
        if isinstance(request, requests.Trigger):
            assert signer_of(request.inner, keys) == ALICE.public_key


def test_the_response_answers_the_probe() -> None:
    response = responses.decode(EXAMPLES[4].encode())
    assert responses.encode(response).decode() == EXAMPLES[4]
    probe = requests.decode(EXAMPLES[2].encode())
    assert response.request == requests.request_id(probe, EXAMPLES[2].encode())


def test_tables_name_all_headers_and_codes() -> None:
    for name in RULES:
        assert f"`{name}`" in PAGE
    assert [int(code) for code in re.findall(r"^\| ([0-9]{3}) \|", PAGE, re.MULTILINE)] == [int(code) for code in Code]
