"""`netserv key`: a publisher's key, and what routers need of it."""

import argparse
import json

from netserv.signaling.key_files import create_key, load_key
from netserv.signaling.nslp.publishers import publisher_line


def run(options: argparse.Namespace) -> int:
    """Make or read the key; print the line for the publishers file of routers.

    Raises:
        LocalProtocolError: the file is there already, or is no key.
    """
    key = create_key(options.file) if options.action == "new" else load_key(options.file)
    line = publisher_line(options.user, key.public_key)
    if options.json:
        print(json.dumps({"file": str(options.file), "public_key": key.public_key.hex(), "publisher": line}))
    else:
        print(line)
    return 0
