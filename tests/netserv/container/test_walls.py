"""Each wall of a container is tested from inside, and the test fails when that wall is taken away."""

import os

import pytest

from netserv.container.walls import TESTS
from netserv.errors import SystemRefusedError
from tests.netserv.container.world import config, installation, status, supervised

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can put up the walls of a container")


async def test_all_walls_stand() -> None:
    async with supervised() as supervisor:
        await supervisor.install(installation())
        assert status(supervisor).walls == dict.fromkeys(TESTS, True)


@pytest.mark.parametrize("wall", TESTS)
async def test_a_container_without_a_wall_loads_nothing(wall: str) -> None:
    async with supervised(config(left_out=(wall,))) as supervisor:
        with pytest.raises(SystemRefusedError, match=rf"these walls do not stand: .*\b{wall}\b"):
            await supervisor.install(installation("open('/data/loaded', 'w')"))
        assert supervisor.status() == []
