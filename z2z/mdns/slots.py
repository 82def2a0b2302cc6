"""A queue of jobs of which only a few run at once; each counts its attempts."""

from z2z.mdns.messages import Name


class Slots:
    """Jobs by name, first come, first served.

    Args:
        parallel_max: jobs that run at once.
    """

    def __init__(self, parallel_max: int) -> None:
        self._parallel_max = parallel_max
        self._waiting: dict[Name, None] = {}
        self._tries: dict[Name, int] = {}

    def __contains__(self, name: Name) -> bool:
        return name in self._tries or name in self._waiting

    def is_running(self, name: Name) -> bool:
        """Tell whether the job has begun."""
        return name in self._tries

    def add(self, name: Name) -> None:
        """Queue a job, once."""
        if name not in self:
            self._waiting[name] = None

    def remove(self, name: Name) -> None:
        """End a job or take it from the queue."""
        self._waiting.pop(name, None)
        self._tries.pop(name, None)

    def begin(self) -> list[Name]:
        """Start as many waiting jobs as there is room for; returns their names."""
        begun = []
        while self._waiting and len(self._tries) < self._parallel_max:
            name = next(iter(self._waiting))
            del self._waiting[name]
            self._tries[name] = 0
            begun.append(name)
        return begun

    def attempt(self, name: Name) -> int:
        """Count one more attempt of a running job; returns how many there were before."""
        tries = self._tries[name]
        self._tries[name] = tries + 1
        return tries
