"""Everything with native code that modules may use: imported before the walls are up, for afterwards nothing can be.

With `PROT_EXEC` refused no shared library can be mapped any more, so that an import of a C extension fails inside the
box. The zygote imports this file, and all its containers share the memory.
"""

import importlib
import pkgutil
from contextlib import suppress
from typing import Final

from netserv.modules import blocks

NATIVE: Final = """
_asyncio _bisect _blake2 _bz2 _codecs_cn _codecs_hk _codecs_iso2022 _codecs_jp _codecs_kr _codecs_tw _contextvars _crypt
_csv _ctypes _datetime _decimal _elementtree _hashlib _heapq _json _lsprof _lzma _md5 _multibytecodec _multiprocessing
_opcode _pickle _posixshmem _posixsubprocess _queue _random _sha1 _sha256 _sha3 _sha512 _socket _sqlite3 _ssl
_statistics _struct _typing _uuid _zoneinfo array audioop binascii cmath fcntl grp math mmap pyexpat resource select
syslog termios unicodedata zlib
"""
"Of the standard library; some interpreters have one or the other built in, or not at all."

PURE: Final = """
asyncio base64 bisect collections.abc concurrent.futures contextvars copy csv dataclasses datetime decimal email.message
email.parser encodings.ascii encodings.idna encodings.latin_1 encodings.utf_16 enum functools hashlib heapq hmac html
http http.client ipaddress itertools json linecache logging mimetypes pathlib pickle queue random re secrets shutil
sqlite3 ssl statistics string struct tempfile textwrap threading time tokenize traceback typing urllib.parse uuid
xml.etree.ElementTree xml.parsers.expat xmlrpc.client xmlrpc.server zoneinfo
"""
"""The box has the standard library, so these need not be here; but what each container would read for itself takes its
own memory, and time at each start."""

OURS: Final = ("h11", "msgspec", "trio", "netserv.container.runtime.main", "netserv.modules.api")


def preload() -> tuple[str, ...]:
    """Import all of it.

    Returns:
        What of the native code this interpreter does not have.
    """
    missing = []
    for name in NATIVE.split():
        with suppress(ImportError):
            importlib.import_module(name)
            continue
        missing.append(name)
    found = pkgutil.walk_packages(blocks.__path__, f"{blocks.__name__}.")
    for name in (*PURE.split(), *OURS, *(each.name for each in found)):
        importlib.import_module(name)
    return tuple(missing)
