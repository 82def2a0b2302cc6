import importlib.metadata

import pytest

from netserv.discovery_path import PROBER
from netserv_discovery import path_io
from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.path_io import GROUP, path_prober


def test_signalling_offers_to_ask_along_paths() -> None:
    assert path_prober() is PROBER


def entry(value: str) -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint(name="x", value=value, group=GROUP)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([], "install netserv"),
        ([entry("no.such.module:PROBER")], "no.such.module"),
        ([entry("netserv_discovery.path_io:NONE")], "cannot be loaded"),
    ],
)
def test_without_anything_that_asks_it_is_said_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, entries: list[importlib.metadata.EntryPoint], words: str
) -> None:
    monkeypatch.setattr(path_io, "entry_points", lambda group: entries if group == GROUP else [])
    with pytest.raises(LocalProtocolError, match=words):
        path_prober()
