"""`python -m dhtboot`."""

import sys

from dhtboot.cli import main

sys.exit(main())
