import argparse
from pathlib import Path

import pytest
import trio

from mdht.errors import LocalProtocolError as MdhtLocalError
from mdht.http_io import LOOPBACK
from netserv_discovery import cli_console
from netserv_discovery.console.dht_source import BLOCKS_MAX
from netserv_discovery.errors import LocalProtocolError


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="console", exit_on_error=False)
    cli_console.add_arguments(parser)
    return parser.parse_args(words)


def test_without_options_it_looks_at_all_there_is() -> None:
    options = parsed()
    assert options.port == 8470
    assert [source.name for source in cli_console.sources_of(options)] == ["mdht", "dht", "z2z", "link"]
    assert [source.name for source in cli_console.sources_of(parsed("--no-link"))] == ["mdht", "dht", "z2z"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--port", "70000"), "not within 0..65535"),
        (("--port", "-1"), "not within 0..65535"),
        (("--near", "somewhere"), "no place"),
        (("--near", "91,0"), "no place"),
        (("--block", "<b>"), "<b>"),
    ],
)
def test_a_wrong_word_is_refused_with_what_would_be_right(words: tuple[str, str], said: str) -> None:
    with pytest.raises(argparse.ArgumentError, match=said):
        parsed(*words)


def test_too_many_blocks_are_refused_before_anything_begins() -> None:
    words = [word for number in range(BLOCKS_MAX + 1) for word in ("--block", f"b{number}")]
    with pytest.raises(LocalProtocolError, match=f"at most {BLOCKS_MAX}"):
        trio.run(cli_console.run, parsed(*words))


def test_a_port_in_use_is_named_with_the_option_that_changes_it(tmp_path: Path) -> None:
    async def main() -> None:
        (listener,) = await trio.open_tcp_listeners(0, host=LOOPBACK)
        async with listener:
            port = listener.socket.getsockname()[1]
            with pytest.RaisesGroup(
                pytest.RaisesExc(
                    MdhtLocalError, match=rf"the console at 127.0.0.1:{port}: .*another address to --port"
                ),
                flatten_subgroups=True,
                allow_unwrapped=True,
            ):
                await cli_console.run(parsed("--port", str(port), "--no-link"))

    trio.run(main)


def test_it_says_where_it_is_as_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    async def main() -> None:
        options = parsed(
            "--port", "0", "--json", "--no-link", "--mdht-state-dir", str(tmp_path), "--z2z-state-dir", str(tmp_path)
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cli_console.run, options)
            said = ""
            while not said:
                await trio.lowlevel.checkpoint()
                said += capsys.readouterr().out
            assert said.startswith('{"event":"serving","url":"http://127.0.0.1:')
            nursery.cancel_scope.cancel()

    trio.run(main)
