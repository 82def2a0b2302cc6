"""Where a node is reached."""

from typing import Any, Final

COMPILED: Final = False
"True to mypyc alone, which takes it from `setup.py`; never at run time."

if COMPILED:
    # Of a tuple of two mypyc keeps the parts, and makes a new tuple, and a new number, each time that one is wanted as
    # the key of a dictionary. An address is hardly ever anything else, so compiled code shall keep the tuple itself.
    Address = Any
else:
    Address = tuple[str, int]
    "Host as numeric text without a scope, and UDP port."
