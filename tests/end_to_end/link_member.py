"""`mdht run` that loses a share of the multicasts: LOSS SEED, then further arguments of the command."""

import functools
import sys

from mdht import cli
from mdht.link_driver import Faults

loss, seed, *arguments = sys.argv[1:]
faults = Faults(multicast_loss=float(loss), seed=int(seed))
cli.open_mdht = functools.partial(cli.open_mdht, faults=faults)
sys.exit(cli.main(["run", *arguments]))
