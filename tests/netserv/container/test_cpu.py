"""A container that spins takes its share of the processor, and no more (abuse case 9)."""

import os
import time

import pytest
import trio

from tests.netserv.container.world import account, installation, limits, status, supervised

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can put up the walls of a container"),
]
WINDOW_S = 1.0
"Fifty periods of the quota: one more or less is within the bounds."
SPIN = "while True:\n    pass"


async def test_a_container_that_spins_takes_its_share_only() -> None:
    async with supervised() as supervisor:
        await supervisor.install(installation(beside=SPIN, account=account("mallory", limits=limits(cpu_share=0.25))))
        begun, before = time.monotonic(), status(supervisor, "mallory").cpu_s
        await trio.sleep(WINDOW_S)
        share = (status(supervisor, "mallory").cpu_s - before) / (time.monotonic() - begun)
        assert 0.1 < share < 0.3


async def test_processes_share_the_quota_of_their_container() -> None:
    many = "import os\nwhile os.fork():\n    pass\n" + SPIN
    async with supervised() as supervisor:
        await supervisor.install(installation(beside=many, account="mallory"))
        begun, before = time.monotonic(), status(supervisor, "mallory").cpu_s
        await trio.sleep(WINDOW_S)
        share = (status(supervisor, "mallory").cpu_s - before) / (time.monotonic() - begun)
        assert share < 0.3
        assert status(supervisor, "mallory").running
