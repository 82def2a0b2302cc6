from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from mdht.errors import UnreachableError
from netserv_discovery.console.picture import View
from netserv_discovery.console.sources import LOOK_S, RETRY_S, Tell, keep, look_again_and_again
from z2z.errors import LinkError


class Scripted:
    """A source that does what it is told, once for each time that it is started."""

    name = "scripted"
    title = "Scripted"

    def __init__(self, *acts: Callable[[Tell], None]) -> None:
        self._acts = list(acts)
        self.looks = 0

    async def snapshot(self) -> View:
        self.looks += 1
        return View(why=f"look {self.looks}")

    async def changes(self, tell: Tell) -> None:
        if self._acts:
            self._acts.pop(0)(tell)
        else:
            await trio.sleep_forever()


def fails(error: Exception) -> Callable[[Tell], None]:
    def act(_tell: Tell) -> None:
        raise error

    return act


def kept(source: Scripted, seconds: float) -> list[tuple[float, bool, str]]:
    shown: list[tuple[float, bool, str]] = []

    async def main() -> None:
        with trio.move_on_after(seconds):
            await keep(source, lambda _name, _title, view: shown.append((trio.current_time(), view.works, view.why)))

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return shown


def test_a_source_that_fails_says_why_and_is_tried_again() -> None:
    source = Scripted(
        fails(UnreachableError("no node runs")),
        fails(ExceptionGroup("of a nursery", [ExceptionGroup("of another", [LinkError("eth0 is down")])])),
        fails(OSError(13, "Permission denied")),
        lambda tell: tell(View(why="all is well")),
    )
    assert [(round(at), *rest) for at, *rest in kept(source, 3.5 * RETRY_S)] == [
        (0, False, "no node runs"),
        (RETRY_S, False, "eth0 is down"),
        (2 * RETRY_S, False, "Permission denied"),
        (3 * RETRY_S, True, "all is well"),
        (3 * RETRY_S, False, "it has ended"),
    ]


@pytest.mark.parametrize("error", [ValueError("a bug"), ExceptionGroup("two", [LinkError("x"), ValueError("a bug")])])
def test_a_mistake_of_the_program_is_not_hidden(error: Exception) -> None:
    with pytest.raises((ValueError, ExceptionGroup)):
        kept(Scripted(fails(error)), 1)


def test_a_program_that_must_be_asked_is_asked_again_and_again() -> None:
    source = Scripted()
    told: list[str] = []

    async def main() -> None:
        with trio.move_on_after(2.5 * LOOK_S):
            await look_again_and_again(source, lambda view: told.append(view.why))

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert told == ["look 1", "look 2", "look 3"]
