"""Jobs on a Dask cluster; the only file that imports distributed."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Final

from dhtboot.errors import LocalProtocolError
from dhtboot.jobs import Pool, run_one
from dhtboot.sim.config import Scenario
from dhtboot.sim.result import RunResult

try:
    from distributed import Client
except ImportError as error:
    raise LocalProtocolError("a cluster needs Dask: pip install 'z2z[cluster]', or leave --cluster out") from error

CONNECT_S: Final = 10.0


class _ClusterPool:
    def __init__(self, client: Client) -> None:
        self._executor = client.get_executor(pure=False)  # type: ignore[no-untyped-call] # it has no types

    def submit(self, scenario: Scenario) -> "Future[RunResult]":
        return self._executor.submit(run_one, scenario)  # type: ignore[no-any-return] # distributed has no types here

    def stop(self) -> None:
        self._executor.shutdown(wait=False)


@contextmanager
def cluster_pool(address: str) -> Iterator[Pool]:
    """The workers of the scheduler at an address; they need this package installed.

    Raises:
        LocalProtocolError: no scheduler answers there.
    """
    try:
        client = Client(address, timeout=CONNECT_S)  # type: ignore[no-untyped-call] # it has no types
    except (OSError, ValueError, TimeoutError) as error:
        raise LocalProtocolError(
            f"no Dask scheduler answers at {address} within {CONNECT_S:g} s; start one with: dask scheduler"
        ) from error
    with client:
        yield _ClusterPool(client)
