"""In a process of its own, since what is imported once cannot be imported again."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import _imp, os, sys, urllib.request
from netserv.container.runtime.preload import preload
preload()

def refuse(*_):
    raise AssertionError("native code is loaded")

_imp.create_dynamic = refuse  # as a wall against executable memory would
import importlib._bootstrap_external as external
external._imp.create_dynamic = refuse

from pathlib import Path
os.chdir(sys.argv[1])
from tests.netserv.container.runtime.boxes import Box, duplicate, listening
from netserv.modules.templates import new_module

box = Box(Path(sys.argv[1]))
opened, port = listening()
files = {name: data.decode() for name, data in new_module("com.example.Hello", "both").items()}
box.load(1, files, kind="both", entry="hello:Hello", sockets={("tcp", port): duplicate(opened)})
box.loaded(1)
assert urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20).read() == b"{}"
USES = '''
from netserv.modules.api import *
import asyncio, csv, datetime, decimal, difflib, email.message, hashlib, hmac, json, pickle, random, secrets, sqlite3
import statistics, uuid, xml.etree.ElementTree, zlib, zoneinfo
from netserv.modules.blocks import dispatcher, http_client, sip, storage, timers, xml_rpc

class M(Activator):
    def start(self, context):
        storage.KeyValue(context.storage / "x").put("a", b"b")
        xml_rpc.read_result(xml_rpc.write_result([1.5, b"x"]))
        hashlib.sha3_256(b"x"); random.random(); decimal.Decimal("1.1"); uuid.uuid4(); "x".encode("idna")
    def process(self, packet): return ACCEPT
'''
box.run(2, USES)
box.unload(1)
box.close()
opened.close()
print("held")
"""


def test_after_the_preload_no_native_code_is_loaded_any_more(tmp_path) -> None:
    words = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    here = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[4]))
    child = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, env=here)
    assert child.stdout == "held\n", child.stderr
