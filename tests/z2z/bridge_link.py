"""A link in memory: devices on it, one importer's registrations on it, and the events that a real link would tell."""

from contextlib import asynccontextmanager

import trio

from z2z.errors import LocalProtocolError
from z2z.mdns.messages import Conflict, ConflictReason, Registered, ServiceFound, ServiceLost

PROBING_S = 0.75


class MemoryLink:
    """Satisfies `z2z.sides.Link`."""

    def __init__(self):
        self.devices = {}
        "Services of devices: by type and name in lower case."
        self.imports = {}
        "Registrations that are visible."
        self.refuses = ""
        "Why no registration fits, if so."
        self._browsers = []
        self._send, self.events = trio.open_memory_channel(1_000)
        self._pending = []

    def publish(self, item):
        self.devices[item.service_type, item.instance.lower()] = item
        self._tell(item.service_type, ServiceFound(item))

    def withdraw_device(self, item, *, silently=False):
        del self.devices[item.service_type, item.instance.lower()]
        if not silently:
            self._tell(item.service_type, ServiceLost(service_type=item.service_type, instance=item.instance))

    def names(self):
        return sorted(each.item.instance for each in self.imports.values())

    async def run(self):
        """Let probing end in its time."""
        while True:
            await trio.sleep(PROBING_S)
            pending, self._pending = self._pending, []
            for registration in pending:
                key = (registration.item.service_type, registration.item.instance.lower())
                if key in self.devices:
                    reason = ConflictReason.LOCAL_DEVICE
                    self._send.send_nowait(Conflict(id=registration.id, reason=reason, seen=(), source="192.0.2.1"))
                else:
                    self.imports[registration.id] = registration
                    self._send.send_nowait(Registered(id=registration.id, instance=registration.item.instance))

    def register(self, registration):
        if self.refuses:
            raise LocalProtocolError(self.refuses)
        self._pending.append(registration)

    def update(self, registration_id, item):
        for registration in [each for each in self._pending if each.id == registration_id]:
            self._pending.remove(registration)
            self._pending.append(type(registration)(**{**as_dict(registration), "item": item}))
        if registration_id in self.imports:
            self.imports[registration_id] = type(self.imports[registration_id])(
                **{**as_dict(self.imports[registration_id]), "item": item}
            )

    def withdraw(self, registration_id):
        self.imports.pop(registration_id, None)
        self._pending = [each for each in self._pending if each.id != registration_id]

    async def say_goodbye(self):
        await trio.lowlevel.checkpoint()
        self.imports.clear()
        self._pending.clear()

    @asynccontextmanager
    async def browse(self, service_type):
        send, receive = trio.open_memory_channel(1_000)
        for item in self.devices.values():
            if item.service_type == service_type:
                send.send_nowait(ServiceFound(item))
        self._browsers.append((service_type, send))
        try:
            yield receive
        finally:
            self._browsers.remove((service_type, send))

    async def confirm(self, service_type, instance):
        await trio.sleep(0.1)
        return (service_type, instance.lower()) in self.devices

    def _tell(self, service_type, event):
        for wanted, send in self._browsers:
            if wanted == service_type:
                send.send_nowait(event)


def as_dict(registration):
    return {field: getattr(registration, field) for field in registration.__struct_fields__}
