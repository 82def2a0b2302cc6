"""A command line parser whose complaint is one line, as other errors are: used by all commands."""

import argparse
from typing import NoReturn


class OneLineParser(argparse.ArgumentParser):
    """Says in one line what is wrong, and where to read what would be right."""

    def error(self, message: str) -> NoReturn:
        """Print the line, and exit with status 2."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")
