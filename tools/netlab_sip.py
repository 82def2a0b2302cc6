"""A SIP server and user agents for laboratories: Kamailio, which answers keep-alives and counts them, and sipp."""

import csv
import re
from typing import Final

from tools.netlab_host import Host
from tools.netlab_process import LabError, Process, wait_until

PORT: Final = 5060
START_S: Final = 15.0
CONFIG: Final = """\
debug=1
log_stderror=yes
children=2
disable_tcp=yes
auto_aliases=no
dns=no
rev_dns=no
listen=udp:{address}:{port}
loadmodule "kex.so"
loadmodule "ctl.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "statistics.so"
modparam("ctl", "binrpc", "unix:{socket}")
modparam("statistics", "variable", "keep_alives")
request_route {{
    if (is_method("NOTIFY") && $hdr(Event) == "keep-alive") {{
        update_stat("keep_alives", "+1");
        sl_send_reply("200", "OK");
        exit;
    }}
    sl_send_reply("501", "Not Implemented");
}}
"""
"""As in any proxy: a keep-alive is answered without a transaction. What is counted is what has reached this server."""
SCENARIO: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="keep-alives">
  <send retrans="{retrans}"><![CDATA[
NOTIFY sip:[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: "agent" <sip:agent@[remote_ip]>;tag=[pid]SIPpTag00[call_number]
To: <sip:[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 NOTIFY
Contact: <sip:agent@[local_ip]:[local_port]>
Max-Forwards: 70
Event: keep-alive
User-Agent: sipp
Content-Length: 0

]]></send>
  <recv response="200"/>
</scenario>
"""
"One keep-alive of a user agent, as Linksys and others send it; an answer whose Call-ID is another one fails the call."


class Kamailio:
    """Kamailio on a host.

    Args:
        host: on which it runs.
        address: that it listens on.
    """

    def __init__(self, host: Host, address: str | None = None) -> None:
        self._host, self.address = host, address or host.ipv4
        self._socket = host.directory / "kamailio.ctl"
        config = host.directory / "kamailio.cfg"
        where = f"[{self.address}]" if ":" in self.address else self.address
        config.write_text(CONFIG.format(address=where, port=PORT, socket=self._socket), encoding="utf-8")
        words = ["kamailio", "-f", str(config), "-DD", "-E", "-m", "64", "-M", "8", "-Y", str(host.directory)]
        self.process = host.popen(*words, log="kamailio.log")
        wait_until(self._ready, START_S, f"Kamailio on {host.name}", lambda: f":\n{self.process.log}")

    def received(self) -> int:
        """Keep-alives that have reached it since its start."""
        found = re.search(r"keep_alives\s*=\s*(\d+)", self._ask("stats.get_statistics", "keep_alives"))
        if found is None:
            raise LabError(f"Kamailio tells no count:\n{self.process.log}")
        return int(found[1])

    def _ready(self) -> bool:
        if self.process.poll() is not None:
            raise LabError(f"Kamailio ended with status {self.process.returncode}:\n{self.process.log}")
        return self._socket.exists() and "keep_alives" in self._ask("stats.get_statistics", "keep_alives")

    def _ask(self, *words: str) -> str:
        return self._host.run("kamcmd", "-s", f"unix:{self._socket}", *words, check=False).stdout


class Sipp:
    """User agents of one host, each of which sends one keep-alive and waits for its answer.

    Args:
        host: on which they are.
        server: address of the SIP server.
        count: of keep-alives.
        per_second: how many of them.
        retrans_ms: until the first repetition, where no answer comes; 0: none, so that each keep-alive is sent once.
        name: for its files.
    """

    def __init__(
        self, host: Host, server: str, *, count: int, per_second: int, retrans_ms: int = 0, name: str = "sipp"
    ) -> None:
        scenario = host.directory / f"{name}.xml"
        text = SCENARIO.format(retrans=retrans_ms)
        scenario.write_text(text.replace(' retrans="0"', ""), encoding="utf-8")
        self._screen, self._statistics = host.directory / f"{name}.screen", host.directory / f"{name}.csv"
        far = f"[{server}]" if ":" in server else server
        own = host.ipv4 if host.ipv6 is None or ":" not in server else host.ipv6
        words = [
            *("sipp", f"{far}:{PORT}", "-sf", str(scenario), "-i", own, "-p", str(PORT), "-m", str(count)),
            *("-r", str(per_second), "-rp", "1000", "-l", str(max(1_000, 10 * per_second)), "-nostdin"),
            *("-recv_timeout", "3000", "-trace_stat", "-stf", str(self._statistics), "-fd", "1"),
            *("-trace_err", "-error_file", str(host.directory / f"{name}.errors")),
        ]
        self.process: Process = host.popen(*words, log=self._screen.name)

    def wait(self, timeout_s: float) -> tuple[int, int]:
        """Wait for its end: how many were answered, and how many failed.

        Raises:
            LabError: it does not end, or has not counted.
        """
        self.process.wait(timeout_s)
        return self.counts()

    def counts(self) -> tuple[int, int]:
        """Answered and failed so far, by its own count; a second old at most."""
        rows = list(csv.DictReader(self._statistics.read_text(encoding="utf-8").splitlines(), delimiter=";"))
        if not rows:
            raise LabError(f"sipp has counted nothing:\n{self.process.log[-2000:]}")
        return int(rows[-1]["SuccessfulCall(C)"]), int(rows[-1]["FailedCall(C)"])
