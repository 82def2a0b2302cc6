"""Fetching a bundle: by a confined process, into the spool, its digest checked (NetServ design, section 4)."""

import trio

from netserv.controller.effects import Fetch
from netserv.controller.http_process import HttpError, HttpProcesses, HttpTask
from netserv.controller.spool import DigestError, Spool
from netserv.signaling.nslp.codes import Code


async def fetch(effect: Fetch, http: HttpProcesses, spool: Spool) -> None:
    """Have a bundle in the spool; one that is there already is not fetched.

    Raises:
        HttpError: it is not to be had, or is another one.
        SystemRefusedError: this machine gives no process, or no room.
    """
    if await trio.to_thread.run_sync(spool.has, effect.digest):
        return
    task = HttpTask(
        url=effect.url,
        bytes_max=effect.bytes_max,
        deadline_s=http.rules.deadline_s,
        redirects_max=http.rules.redirects_max,
    )
    try:
        with spool.draft(effect.digest) as draft:
            await http.request(task, effect.user, draft.write)
    except DigestError as error:
        raise HttpError(f"{effect.url[:100]}: {error}", Code.BAD_REQUEST) from error
