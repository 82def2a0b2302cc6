"""Telling a publisher's server what became of his module: an XML-RPC call by the same confined processes.

`netserv.installed(user, module, node_id, code, text)`, and `netserv.removed` of the same form; what it answers does not
matter, as long as it answers 2xx.
"""

import logging
import xmlrpc.client  # writing alone: nothing that comes is read as XML
from collections import Counter, deque
from typing import Final

import trio

from netserv.controller.effects import Notify
from netserv.controller.http_process import HttpError, HttpProcesses, HttpTask
from netserv.errors import SystemRefusedError
from netserv.signaling.nslp.codes import Code

log = logging.getLogger(__name__)

DEADLINE_S: Final = 10.0
PAUSES_S: Final = (0.0, 2.0, 10.0)
"Before each try: a server that starts again is back after some seconds; who misses it all can PROBE."
WAITING_MAX: Final = 1_024
"Notifications at a time; what is more is dropped and counted."
OF_PUBLISHER_MAX: Final = 64
"Of these, one publisher's."


class Notifier:
    """Delivers notifications.

    Args:
        http: makes requests.
        node_id: what this node is called.
    """

    def __init__(self, http: HttpProcesses, node_id: str) -> None:
        self._http, self._node_id = http, node_id
        self._waiting: dict[tuple[str, str], deque[Notify]] = {}
        "By publisher and URL: what is told there comes in its order."
        self.counters = Counter({"delivered": 0, "failed": 0, "dropped": 0})

    async def deliver(self, notify: Notify) -> None:
        """Deliver one, or have it delivered by whoever delivers those before it."""
        mine = sum(len(queue) for (user, _), queue in self._waiting.items() if user == notify.user)
        if mine >= OF_PUBLISHER_MAX or sum(map(len, self._waiting.values())) >= WAITING_MAX:
            self.counters["dropped"] += 1
            return
        place = notify.user, notify.url
        queue = self._waiting.setdefault(place, deque())
        queue.append(notify)
        if len(queue) > 1:
            return
        try:
            while queue:
                await self._tried(queue[0])
                queue.popleft()
        finally:
            del self._waiting[place]

    async def _tried(self, notify: Notify) -> None:
        task = HttpTask(
            url=notify.url,
            method="POST",
            body=call(notify, self._node_id),
            headers={"Content-Type": "text/xml"},
            bytes_max=0,
            deadline_s=DEADLINE_S,
        )
        for pause_s in PAUSES_S:
            await trio.sleep(pause_s)
            try:
                await self._http.request(task, f"{notify.user} (notifications)", _nothing)
            except (HttpError, SystemRefusedError) as error:
                log.info("notification of %s: %s", notify.user, error)
                if isinstance(error, HttpError) and error.code == Code.FORBIDDEN:
                    break  # it will be so the next time
                continue
            self.counters["delivered"] += 1
            return
        self.counters["failed"] += 1


def call(notify: Notify, node_id: str) -> str:
    """The body of the call."""
    arguments = (notify.user, str(notify.module), node_id, int(notify.code), notify.text)
    return xmlrpc.client.dumps(arguments, f"netserv.{notify.event}")


def _nothing(_data: bytes) -> None:
    """No body is read."""
