"""`mdht members --join` that loses a share of the multicasts: LOSS SEED, then further arguments of the command."""

import functools
import sys

from mdht import cli_members
from mdht.cli import main
from mdht.link_driver import Faults

loss, seed, *arguments = sys.argv[1:]
faults = Faults(multicast_loss=float(loss), seed=int(seed))
cli_members.run = functools.partial(cli_members.run, faults=faults)
sys.exit(main(["members", "--join", *arguments]))
