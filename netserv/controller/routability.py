"""Reverse routability: whether the host that traffic goes to serves the one-time password of a request (thesis 6.1.2).

Path and port are fixed, so that nobody else on that host can answer for it, nor the node be sent to other services.
"""

from typing import Final

from netserv.controller.authorization import check_path, shows_password
from netserv.controller.effects import CheckRoutability
from netserv.controller.http_process import HttpError, HttpProcesses, HttpTask

DEADLINE_S: Final = 5.0
ANSWER_MAX: Final = 256
"Bytes: a password has 128 characters at most."


async def check(effect: CheckRoutability, http: HttpProcesses) -> str | None:
    """Ask the host.

    Returns:
        None if it serves the password; else why that is not shown.
    """
    received = bytearray()
    host = f"[{effect.address}]" if effect.address.version == 6 else str(effect.address)
    where = host if effect.port == 80 else f"{host}:{effect.port}"
    task = HttpTask(
        url=f"http://{where}{check_path(effect.module)}",
        bytes_max=ANSWER_MAX,
        deadline_s=DEADLINE_S,
        ports=(effect.port,),
    )
    try:
        await http.request(task, effect.user, received.extend)
    except HttpError as error:
        return f"routability is not shown: {error}"
    if not shows_password(bytes(received), effect.password):
        return f"routability is not shown: {where} serves another password"
    return None
