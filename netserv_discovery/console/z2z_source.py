"""Services exported and imported, as the running z2z of this user tell them."""

from collections.abc import Sequence
from pathlib import Path

from netserv_discovery.console.items import ProgramSeen, ServiceSeen
from netserv_discovery.console.picture import View
from netserv_discovery.console.sources import Tell, counted, look_again_and_again
from z2z.control import Answer, ask_all
from z2z.errors import StoreError
from z2z.reports import ServiceStatus


class Z2zSource:
    """The running programs.

    Args:
        directories: their state directories.
    """

    name = "z2z"
    title = "Services (z2z)"

    def __init__(self, directories: Sequence[Path]) -> None:
        self._directories = directories

    async def snapshot(self) -> View:
        """Ask every program.

        Raises:
            Z2zError: none runs, or one of another version.
        """
        answers = [answer for directory in self._directories for answer in await ask_all(directory)]
        if not answers:
            raise StoreError(
                "no z2z of this user runs; start one with `z2z --export TYPE --key WORD` or `z2z --import`"
            )
        programs = {str(answer.program.pid): program_seen(answer) for answer in answers}
        services: dict[str, ServiceSeen] = {}
        for answer in answers:
            for each in answer.services:
                services[_key(answer.program.pid, each)] = service_seen(each, answer.program.pid)
        return View(
            items={"programs": programs, "services": services},
            why=f"{counted(len(programs), 'program')}, {counted(len(services), 'service')}",
        )

    async def changes(self, tell: Tell) -> None:
        """Ask again and again: programs tell their state only when asked."""
        await look_again_and_again(self, tell)


def _key(pid: int, each: ServiceStatus) -> str:
    return "/".join((str(pid), each.role, each.service_type, each.site, each.service, *each.where[:1]))


def program_seen(answer: Answer) -> ProgramSeen:
    """What the console shows of a program."""
    program = answer.program
    return ProgramSeen(
        pid=program.pid,
        site=program.site,
        interface=program.interface,
        exports=program.exports,
        imports=program.imports,
        keys=program.keys,
        stores=tuple(f"{name}: {text}" for name, text in program.stores.items()),
        policy=program.policy,
        refused=sum(count for why, count in program.refused.items() if why != "older"),
    )


def service_seen(each: ServiceStatus, pid: int) -> ServiceSeen:
    """What the console shows of a service."""
    return ServiceSeen(
        role=each.role,
        state=each.state,
        service=each.service,
        shown_as=each.shown_as,
        service_type=each.service_type,
        where=each.where,
        keys=each.keys,
        site=each.site,
        reason=each.reason,
        pid=pid,
    )
