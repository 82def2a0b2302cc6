"""`python -m mdht`."""

import sys

from mdht.cli import main

sys.exit(main())
