import pytest
import trio

from mdht.control import ControlClient, control_path
from mdht.node import MdhtConfig, open_mdht
from mdht.signing import SigningKey
from z2z.errors import LocalProtocolError, StoreError
from z2z.stores.kinds import StoreSettings
from z2z.stores.overlay import KIND, OverlayStore

KEY = b"k" * 20
LOOPBACK = MdhtConfig(host="127.0.0.1", port=0, presence=False)


def test_a_lone_node_keeps_values_and_pushes_changes():
    async def main():
        async with open_mdht(LOOPBACK, SigningKey.from_seed(b"1" * 32)) as node:
            store = OverlayStore(node, ends_soon=False)
            assert (await store.put(KEY, b"n", b"value", 60)).stored == 1
            (stored,) = await store.get(KEY)
            assert (stored.value, stored.name) == (b"value", b"n")
            assert 58 < stored.remaining_s <= 60
            async with store.listen(KEY) as changes:
                assert (await changes.receive()).kind == "added"
                await store.remove(KEY, b"n")
                assert (await changes.receive()).kind == "removed"
            assert await store.get(KEY) == []
            assert "joined" in store.describe()

    with_deadline(main)


def test_a_lone_node_that_is_about_to_end_keeps_nothing():
    async def main():
        async with open_mdht(LOOPBACK, SigningKey.generate()) as node:
            with pytest.raises(StoreError, match="about to end"):
                await OverlayStore(node, ends_soon=True).put(KEY, b"n", b"value", 60)

    with_deadline(main)


def test_values_beyond_the_limits_are_refused_by_the_store():
    async def main():
        async with open_mdht(LOOPBACK, SigningKey.generate()) as node:
            with pytest.raises(StoreError):
                await OverlayStore(node, ends_soon=False).put(KEY, b"n", b"x" * 20_000, 60)

    with_deadline(main)


def test_other_programs_of_the_user_reach_the_node_while_it_runs(tmp_path):
    settings = StoreSettings(signer=SigningKey.generate(), role="both", presence=False, state_dir=tmp_path)
    client = ControlClient(control_path(tmp_path / "mdht", {}))

    async def main():
        async with KIND.open(settings) as opened:
            await opened.store.put(KEY, b"n", b"value", 60)
            assert (await client.status()).records == 1
        assert not await client.answers()

    with_deadline(main)


def opened(**changes):
    settings = StoreSettings(signer=SigningKey.generate(), role="both", presence=False, **changes)

    async def main():
        async with KIND.open(settings):
            pass

    with_deadline(main)


def test_a_directory_that_cannot_be_used_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(LocalProtocolError):
        opened(state_dir=file / "below")


def test_a_file_of_passphrases_that_others_can_read_is_refused(tmp_path):
    file = tmp_path / "key"
    file.write_text("correct horse\n")
    file.chmod(0o644)
    with pytest.raises(LocalProtocolError, match=str(file)):
        opened(state_dir=tmp_path, link_key_file=file)


def with_deadline(main):
    async def bounded():
        with trio.fail_after(20):
            await main()

    trio.run(bounded)
