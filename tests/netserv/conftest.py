"""Tests that are coroutines run under trio, with the clock of a fixture `clock` where they ask for one."""

import inspect

import pytest
import trio
import trio.testing


@pytest.fixture
def clock() -> trio.testing.MockClock:
    """A clock that jumps to the next deadline when nothing else can be done."""
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine; None leaves other functions to pytest."""
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(function).parameters}

    async def run() -> None:
        await function(**arguments)

    trio.run(run, clock=arguments.get("clock"), strict_exception_groups=True)
    return True
