"""The one door to miniupnpc: a gateway device that forwards ports by UPnP; the calls block, so they run in a thread.

The library is an extra, as most routers that know UPnP know NAT-PMP too.
"""

import ipaddress
from typing import Any, Final

from mdht.ports.effects import (
    UpnpAnswer,
    UpnpCall,
    UpnpCheck,
    UpnpDelete,
    UpnpDeleted,
    UpnpGranted,
    UpnpKept,
    UpnpLost,
    UpnpMap,
    UpnpRefused,
    UpnpSilent,
)

DISCOVER_MS: Final = 1_000
"For answers to come in to each of the six questions of the library, which ends with the first that has any."
DESCRIPTION: Final = "mdht"
"What the router's pages show beside the port."
MISSING: Final = "without UPnP, which needs: pip install 'z2z[upnp]'"
_CONFLICT: Final = "ConflictInMappingEntry"
_PERMANENT: Final = "OnlyPermanentLeasesSupported"


class GatewayDevice:
    """The one that was found on a link.

    Args:
        own: address of this host there.

    Attributes:
        own: the same.
    """

    def __init__(self, own: str) -> None:
        self.own = own
        self._device: Any = None

    def call(self, wanted: UpnpCall) -> UpnpAnswer:
        """Ask it something; an error of the library is an answer too."""
        try:
            import miniupnpc  # noqa: PLC0415 - an extra
        except ImportError:
            return UpnpSilent(MISSING)
        try:
            if self._device is None or isinstance(wanted, UpnpMap):
                self._device = self._found(miniupnpc.UPnP(multicastif=self.own, discoverdelay=DISCOVER_MS))
            return UpnpSilent() if self._device is None else self._asked(wanted)
        except Exception as error:
            return UpnpRefused(str(error) or type(error).__name__)

    def _found(self, device: Any) -> Any:
        try:
            device.discover()
            device.selectigd()
        except Exception:  # nothing answers, whatever the text says, or something that is no gateway
            return None
        return device

    def _asked(self, wanted: UpnpCall) -> UpnpAnswer:
        match wanted:
            case UpnpMap():
                return self._mapped(wanted)
            case UpnpCheck(internal_port=port, external_port=external_port, external=external):
                found = self._device.getspecificportmapping(external_port, "UDP")
                kept = found is not None and tuple(found[:2]) == (self._device.lanaddr, port)
                return UpnpKept() if kept and self._device.externalipaddress() == str(external) else UpnpLost()
            case UpnpDelete(external_port=external_port):
                self._device.deleteportmapping(external_port, "UDP")
                return UpnpDeleted()

    def _mapped(self, wanted: UpnpMap) -> UpnpAnswer:
        """Try the ports in turn; some devices know no leases (error 725), so that the port stays open if we crash."""
        reason = ""
        for port in wanted.external_ports:
            for lease_s in (wanted.lifetime_s, 0):
                try:
                    self._device.addportmapping(
                        port, "UDP", self._device.lanaddr, wanted.internal_port, DESCRIPTION, "", lease_s
                    )
                except Exception as error:
                    reason = str(error)
                    if reason != _PERMANENT:
                        break
                else:
                    return self._granted(port, wanted.lifetime_s)
            if reason != _CONFLICT:
                break
        return UpnpRefused(reason)

    def _granted(self, port: int, lifetime_s: int) -> UpnpAnswer:
        try:
            external = ipaddress.IPv4Address(self._device.externalipaddress())
        except ValueError:
            return UpnpRefused("it tells no outside address")
        return UpnpGranted(external=external, port=port, lifetime_s=lifetime_s)
