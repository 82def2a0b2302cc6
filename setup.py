"""Builds the wheel; with Z2Z_COMPILE=1 in the environment its hot modules as machine code, with mypyc.

Everything else stands in pyproject.toml. The pure form is complete, and is what the tests run.
"""

import os
import sys

from setuptools import Extension, setup

# None that holds settings: mypyc takes the bases of a class and not its options (`frozen`, `kw_only`).
HOT = [
    "bootstrap",
    "cookies",
    "core",
    "ids",
    "rpc",
    "limits",
    "lookup",
    "peer",
    "overlay",
    "chord/ring",
    "chord/router",
    "chord/successors",
    "chord/fingers",
    "chord/walk",
    "chord/fix",
    "chord/periods",
    "chord/reunion",
    "chord/stabilize",
    "chord/join",
    "chord/node",
    "kademlia/answering",
    "kademlia/bucket",
    "kademlia/buckets",
    "kademlia/caller",
    "kademlia/siblings",
    "kademlia/search",
    "kademlia/witnesses",
    "kademlia/join",
    "kademlia/upkeep",
    "kademlia/node",
    "sim/engine",
    "sim/metrics",
    "sim/shared_contacts",
    "sim/workload",
]

# What NetServ does for each packet in C: optional, since without a compiler its Python form serves, slower.
IN_C = ["forwarding/_packetpath", "forwarding/_box_end", "modules/_fast"]
in_c = [
    Extension(
        f"netserv.{name.replace('/', '.')}",
        [f"netserv/{name}.c"],
        depends=["netserv/forwarding/_ring.h", "netserv/modules/_views.h"],
        extra_compile_args=["-O2", "-std=gnu11"],
        optional=True,
    )
    for name in IN_C
]
extensions = []
if os.environ.get("Z2Z_COMPILE") == "1":
    from mypyc.build import mypycify

    # Without the settings for checking in pyproject.toml, which say that COMPILED is false (dhtboot/address.py).
    options = ["--config-file=", "--ignore-missing-imports", "--always-true=COMPILED"]
    extensions = mypycify([*options, *(f"dhtboot/{name}.py" for name in HOT)], opt_level="3")
    if os.name == "posix":
        for extension in extensions:
            # Else each call within the library goes through a table, for another library might replace what is called,
            # and the compiler puts no function in the place of its call.
            extension.extra_compile_args += ["-fvisibility=hidden", "-fno-semantic-interposition"]

setup(ext_modules=[*extensions, *(in_c if sys.platform == "linux" else [])])
