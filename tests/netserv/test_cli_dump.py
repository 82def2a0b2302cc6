import argparse
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from netserv import cli_dump, cli_dump_options
from tests.netserv.signaling.captures import TCP_PROTOCOL, UDP_PROTOCOL, ip, pcap, pcapng, tcp, udp
from tests.netserv.signaling.gist.gist_messages import VECTORS

QUERY = ip(udp(VECTORS["ka_query_dmode"].payload), UDP_PROTOCOL)
BAD = ip(udp(VECTORS["ka_query_dmode"].payload[:-4]), UDP_PROTOCOL)
DATA = ip(tcp(VECTORS["ka_data_dmode"].message, 1), TCP_PROTOCOL)


def dump(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    cli_dump_options.add_arguments(parser)
    return cli_dump.run(parser.parse_args([str(argument) for argument in arguments]))


def written(directory: Path, capture: bytes) -> Path:
    path = directory / "path.pcap"
    path.write_bytes(capture)
    return path


@pytest.mark.parametrize("kind", [pcap, pcapng])
def test_messages_go_to_standard_output_and_the_count_to_standard_error(tmp_path: Path, capsys, kind) -> None:
    assert dump(written(tmp_path, kind(QUERY, BAD))) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("#1 2026-")
    assert "\n\n#2 " in shown.out
    assert "unreadable: Common header parse error: Length" in shown.out
    assert shown.err == "netserv: packets 2, GIST messages 2, unreadable of them 1\n"


def test_json_has_one_object_a_line(tmp_path: Path, capsys) -> None:
    assert dump("--json", written(tmp_path, pcap(QUERY, BAD))) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["message"]["message"] == "Query"
    assert "wrong" not in first
    assert second["wrong"].startswith("Common header parse error")


def test_standard_input_is_read(capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(pcap(QUERY))))
    assert dump("-") == 0
    assert "Query: hops 32" in capsys.readouterr().out


def test_ports_can_be_named(tmp_path: Path, capsys) -> None:
    path = written(tmp_path, pcap(QUERY, DATA))
    assert dump("--json", "--udp-port", 271, "--tcp-port", 4711, "--tcp-port", 4712, path) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["message"]["message"] == "Data"


def test_capture_without_gist_says_what_else_there_is(tmp_path: Path, capsys) -> None:
    assert dump(written(tmp_path, pcap(ip(udp(b"DNS"), UDP_PROTOCOL)))) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "GIST messages 0" in shown.err
    assert "--udp-port" in shown.err


def test_cut_capture_is_printed_up_to_there_and_fails(tmp_path: Path, capsys) -> None:
    assert dump(written(tmp_path, pcap(QUERY, QUERY)[:-5])) == 1
    shown = capsys.readouterr()
    assert shown.out.count("Query: hops 32") == 1
    assert "path.pcap: behind packet 1 it cannot be read" in shown.err


@pytest.mark.parametrize(("name", "reason"), [("absent", "No such file"), (".", "Is a directory"), ("text", "neither")])
def test_file_that_cannot_be_read_is_one_line_and_a_failure(tmp_path: Path, capsys, name: str, reason: str) -> None:
    (tmp_path / "text").write_text("hello")
    assert dump(tmp_path / name) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert reason in shown.err
    assert len(shown.err.splitlines()) == 1


def test_ctrl_c_ends_with_the_count(tmp_path: Path, capsys, monkeypatch) -> None:
    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_dump, "as_text", interrupted)
    assert dump(written(tmp_path, pcap(QUERY))) == 130
    assert "GIST messages 1" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["0", "65536", "gist", "-1"])
def test_port_that_is_none_is_refused(port: str, capsys) -> None:
    with pytest.raises(SystemExit):
        dump("x.pcap", f"--tcp-port={port}")
    assert "a port is a number from 1 to 65535" in capsys.readouterr().err
