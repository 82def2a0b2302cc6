"""`python -m netserv_discovery` is `netserv-discovery`."""

import sys

from netserv_discovery.cli import main

if __name__ == "__main__":
    sys.exit(main())
