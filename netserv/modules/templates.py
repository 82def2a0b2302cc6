"""A module to begin with, as `netserv module new` writes it: small, and working as it stands."""

import re
from string import Template
from typing import Final

from netserv.modules.errors import BundleError
from netserv.modules.manifest import MANIFEST_NAME, Kind, read_manifest

_MANIFEST: Final = Template("""\
name = "$name"
version = "0.1.0"
entry = "$file:$class_name"
kind = "$kind"
description = "$description"
# Blocks of the node and other modules that this one needs: "NAME" or "NAME>=VERSION".
requires = [$requires]
$more# When the module fails, its packets pass ("open"), are dropped ("closed"), or pass while it is started again
# ("reload").
failure = "open"
""")
_PORTS: Final = """\
# Ports to listen on; the operator of a node decides whether you may.
ports = [{ proto = "tcp", port = 8080 }]
"""
_PREMATCH: Final = """\
# Only packets that begin so reach the module, the kernel passes all others: faster, if you can say it.
# [[prematch]]
# offset = 0
# text = "NOTIFY "
"""
_REQUIRES: Final = {
    "server": '"http-server>=1.0"',
    "packet": '"metrics>=1.0"',
    "both": '"http-server>=1.0", "metrics>=1.0"',
}
_DESCRIPTIONS: Final = {
    "server": "Says hello by HTTP.",
    "packet": "Counts packets by their source.",
    "both": "Counts packets by their source, and shows the counts by HTTP.",
}
_SERVER: Final = Template('''\
"""Says hello by HTTP."""

from netserv.modules.api import Activator, Context
from netserv.modules.blocks.http_server import HttpServer, Request, Response


class $class_name(Activator):
    """Runs while the module is installed."""

    async def start(self, context: Context) -> None:
        """Serve on the port of `module.toml`, whatever its number is."""
        self.greeting = context.properties.get("greeting", "hello")
        server = HttpServer(context)
        server.route("GET", "/")(self.hello)
        server.serve(context.listen())
        context.log.info("serving")

    async def hello(self, request: Request) -> Response:
        """Answer one request."""
        return Response.text(f"{self.greeting}, {request.peer}\\n")
''')
_PACKET: Final = Template('''\
"""Counts packets by their source."""

from collections import Counter

from netserv.modules.api import ACCEPT, Activator, Context, Packet, Verdict

SOURCES_MAX = 10_000
"Of which packets are counted apart: an attacker can invent millions."


class $class_name(Activator):
    """Sees each packet of its filter."""

    def start(self, context: Context) -> None:
        """Prepare; packets come afterwards."""
        self.by_source: Counter[bytes] = Counter()
        self.packets = context.metrics.counter("packets")
        context.every(60.0, lambda: context.log.info("%d sources", len(self.by_source)))

    def process(self, packet: Packet) -> Verdict:
        """Say what becomes of one packet."""
        source = packet.src
        if source in self.by_source or len(self.by_source) < SOURCES_MAX:
            self.by_source[source] += 1
        self.packets.add()
        return ACCEPT
''')
_BOTH: Final = Template('''\
"""Counts packets by their source, and shows the counts by HTTP."""

from collections import Counter
from ipaddress import ip_address

from netserv.modules.api import ACCEPT, Activator, Context, Packet, Verdict
from netserv.modules.blocks.http_server import HttpServer, Request, Response

SOURCES_MAX = 10_000
"Of which packets are counted apart: an attacker can invent millions."


class $class_name(Activator):
    """Sees each packet of its filter, and serves a page."""

    async def start(self, context: Context) -> None:
        """Serve on the port of `module.toml`; packets come afterwards."""
        self.by_source: Counter[bytes] = Counter()
        self.packets = context.metrics.counter("packets")
        server = HttpServer(context)
        server.route("GET", "/")(self.show)
        server.serve(context.listen())

    def process(self, packet: Packet) -> Verdict:
        """Say what becomes of one packet. This runs in another thread than the server."""
        source = packet.src
        if source in self.by_source or len(self.by_source) < SOURCES_MAX:
            self.by_source[source] += 1
        self.packets.add()
        return ACCEPT

    async def show(self, request: Request) -> Response:
        """The 20 busiest sources."""
        counts = self.by_source.copy().most_common(20)
        return Response.json({str(ip_address(source)): count for source, count in counts})
''')
_SOURCES: Final = {"server": _SERVER, "packet": _PACKET, "both": _BOTH}


def directory_name(name: str) -> str:
    """The directory and the Python file of a new module: the last part of its name, in small letters."""
    last = re.split(r"[._]", name)[-1].lower().replace("-", "_")
    return last if last.isidentifier() else f"module_{last}"


def new_module(name: str, kind: Kind) -> dict[str, bytes]:
    """The files of a new module.

    Args:
        name: dotted, `com.example.Hello`.
        kind: what it is to do.

    Raises:
        BundleError: no module can have that name.
    """
    file = directory_name(name)
    class_name = "".join(part[:1].upper() + part[1:] for part in file.split("_"))
    more = "" if kind == "packet" else _PORTS
    values = {
        "name": name,
        "file": file,
        "class_name": class_name,
        "kind": kind,
        "description": _DESCRIPTIONS[kind],
        "requires": _REQUIRES[kind],
        "more": more,
    }
    text = _MANIFEST.substitute(values) + ("" if kind == "server" else _PREMATCH)
    try:
        read_manifest(text.encode())
    except BundleError:
        raise BundleError(
            f"{name[:80]!r} is no name of a module: letters, digits and -, in parts with dots, as com.example.Hello"
        ) from None
    return {MANIFEST_NAME: text.encode(), f"{file}.py": _SOURCES[kind].substitute(values).encode()}
