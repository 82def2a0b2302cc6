"""Everything with native code that modules may use: imported before the walls are up, for afterwards nothing can be.

With `PROT_EXEC` refused no shared library can be mapped any more, so that an import of a C extension fails inside the
box. The zygote imports this file, and all its containers share the memory.
"""

import importlib
from contextlib import suppress
from typing import Final

NATIVE: Final = (
    *(
        "_asyncio",
        "_bisect",
        "_blake2",
        "_bz2",
        "_codecs_cn",
        "_codecs_hk",
        "_codecs_iso2022",
        "_codecs_jp",
        "_codecs_kr",
    ),
    *("_codecs_tw", "_contextvars", "_crypt", "_csv", "_ctypes", "_datetime", "_decimal", "_elementtree", "_hashlib"),
    *("_heapq", "_json", "_lsprof", "_lzma", "_md5", "_multibytecodec", "_multiprocessing", "_opcode", "_pickle"),
    *("_posixshmem", "_posixsubprocess", "_queue", "_random", "_sha1", "_sha256", "_sha3", "_sha512", "_socket"),
    *("_sqlite3", "_ssl", "_statistics", "_struct", "_typing", "_uuid", "_zoneinfo", "array", "audioop", "binascii"),
    *(
        "cmath",
        "fcntl",
        "grp",
        "math",
        "mmap",
        "pyexpat",
        "resource",
        "select",
        "syslog",
        "termios",
        "unicodedata",
        "zlib",
    ),
)
"Of the standard library; some interpreters have one or the other built in, or not at all."

PURE: Final = (
    # The box has the standard library, so these need not be here; but what each container would read for itself takes
    # its own memory, and time at each start.
    *(
        "asyncio",
        "base64",
        "collections.abc",
        "concurrent.futures",
        "dataclasses",
        "datetime",
        "decimal",
        "email.message",
    ),
    *(
        "encodings.idna",
        "encodings.latin_1",
        "encodings.ascii",
        "functools",
        "hashlib",
        "heapq",
        "hmac",
        "http",
        "http.client",
    ),
    *("ipaddress", "itertools", "json", "logging", "queue", "random", "re", "secrets", "sqlite3", "ssl", "statistics"),
    *(
        "string",
        "struct",
        "tempfile",
        "threading",
        "traceback",
        "typing",
        "urllib.parse",
        "uuid",
        "xml.etree.ElementTree",
    ),
    *("xml.parsers.expat", "xmlrpc.client", "zoneinfo"),
)
OURS: Final = (
    "h11",
    "msgspec",
    "trio",
    "netserv.container.runtime.main",
    "netserv.modules.api",
    "netserv.modules.blocks.dispatcher",
    "netserv.modules.blocks.http_client",
    "netserv.modules.blocks.http_server",
    "netserv.modules.blocks.metrics",
    "netserv.modules.blocks.sip",
    "netserv.modules.blocks.storage",
    "netserv.modules.blocks.timers",
    "netserv.modules.blocks.xml_rpc",
)


def preload() -> tuple[str, ...]:
    """Import all of it.

    Returns:
        What of the native code this interpreter does not have.
    """
    missing = []
    for name in NATIVE:
        with suppress(ImportError):
            importlib.import_module(name)
            continue
        missing.append(name)
    for name in (*PURE, *OURS):
        importlib.import_module(name)
    return tuple(missing)
