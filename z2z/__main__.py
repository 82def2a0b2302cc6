"""`python -m z2z`."""

import sys

from z2z.cli import main

sys.exit(main())
