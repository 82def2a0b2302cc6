"""Fetching a bundle: by a confined process, into the spool, its digest checked (NetServ design, section 4)."""

import trio

from netserv.controller.effects import Fetch
from netserv.controller.http_process import HttpError, HttpProcesses, HttpTask
from netserv.controller.spool import DigestError, Spool
from netserv.signaling.nslp.codes import Code


async def fetch(effect: Fetch, http: HttpProcesses, spool: Spool, room: int) -> None:
    """Have a bundle in the spool; one that is there already is not fetched.

    Args:
        effect: what is wanted.
        http: makes the request.
        spool: where it is to be.
        room: bytes that it may have, for want of more room.

    Raises:
        HttpError: it is not to be had, or is another one.
        SystemRefusedError: this machine gives no process, or no room.
    """
    if await trio.to_thread.run_sync(spool.has, effect.digest):
        return
    if not room:
        raise HttpError("no room for another bundle: REMOVE a module", Code.INSUFFICIENT_STORAGE)
    refusals: list[HttpError] = []
    for url in effect.urls:
        try:
            await _from(url, effect, http, spool, room)
            return
        except HttpError as error:
            refusals.append(error)
    raise HttpError("; ".join(map(str, refusals)), refusals[-1].code)


async def _from(url: str, effect: Fetch, http: HttpProcesses, spool: Spool, room: int) -> None:
    task = HttpTask(
        url=url,
        bytes_max=min(effect.bytes_max, room),
        deadline_s=http.rules.deadline_s,
        redirects_max=http.rules.redirects_max,
    )
    try:
        with spool.draft(effect.digest) as draft:
            await http.request(task, effect.user, draft.write)
    except DigestError as error:
        raise HttpError(f"{url[:100]}: {error}", Code.BAD_REQUEST) from error
