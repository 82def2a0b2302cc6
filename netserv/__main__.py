"""`python -m netserv`."""

import sys

from netserv.cli import main

sys.exit(main())
