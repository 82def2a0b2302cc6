"""A real miniupnpd on a router of the laboratory: it opens ports by PCP, NAT-PMP and UPnP for the hosts behind it."""

import re
import shutil
from pathlib import Path
from typing import Final

from tools.netlab_host import SEARCH_PATH, Host
from tools.netlab_process import LabError, Process

CHAINS: Final = """\
table inet miniupnpd {
    chain forward { type filter hook forward priority 0; policy accept; jump opened; }
    chain prerouting { type nat hook prerouting priority -100; policy accept; jump redirected; }
    chain postrouting { type nat hook postrouting priority 100; policy accept; jump translated; }
    chain opened { }
    chain redirected { }
    chain translated { }
}
"""
"The tables that an administrator prepares, and that the program fills."
SETTINGS: Final = """\
ext_ifname={outside}
listening_ip={inside}
enable_natpmp={datagrams}
enable_upnp={upnp}
secure_mode=yes
system_uptime=no
upnp_table_name=miniupnpd
upnp_nat_table_name=miniupnpd
upnp_forward_chain=opened
upnp_nat_chain=redirected
upnp_nat_postrouting_chain=translated
allow 1024-65535 0.0.0.0/0 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""
READY: Final = "HTTP listening"
_REDIRECTED: Final = re.compile(r"dport (\d+) dnat ip to (\S+)")


class Miniupnpd:
    """The program on a router made by `Lab.nat`; it starts with the object.

    Args:
        router: the router.
        datagrams: whether it answers PCP and NAT-PMP.
        upnp: whether it answers UPnP.
    """

    def __init__(self, router: Host, *, datagrams: bool = True, upnp: bool = True) -> None:
        found = shutil.which("miniupnpd", path=SEARCH_PATH)
        if found is None or shutil.which("nft", path=SEARCH_PATH) is None:
            raise LabError("missing Debian packages: miniupnpd-nftables nftables")
        self._program = found
        self._router = router
        outside, inside = router.interfaces
        text = SETTINGS.format(
            outside=outside,
            inside=inside,
            datagrams=_word(datagrams),
            upnp=_word(upnp),
        )
        self._settings: Path = router.directory / "miniupnpd.conf"
        self._settings.write_text(text)
        self._prepare()
        self._process = self._start()

    def forwards(self) -> dict[int, str]:
        """The ports that the kernel passes on now, and to whom, as the program has told it."""
        listed = self._router.run("nft", "list", "chain", "inet", "miniupnpd", "redirected").stdout
        return {int(port): to for port, to in _REDIRECTED.findall(listed)}

    def stop(self) -> None:
        """End it."""
        self._process.stop()

    def restart(self) -> None:
        """As if the router had been switched off and on: all ports are closed, and it has forgotten them."""
        self.stop()
        self._prepare()
        self._process = self._start()

    def _prepare(self) -> None:
        self._router.run("nft", "delete", "table", "inet", "miniupnpd", check=False)
        self._router.run("nft", "-f", "-", stdin=CHAINS)

    def _start(self) -> Process:
        words = ["-d", "-f", str(self._settings), "-P", str(self._router.directory / "miniupnpd.pid")]
        process = self._router.popen(self._program, *words)
        process.wait_for(READY)
        return process


def _word(setting: bool) -> str:
    return "yes" if setting else "no"
