"""The file of `--policy`, as a program that runs follows it."""

import logging
from pathlib import Path
from typing import Final

from z2z.errors import LocalProtocolError
from z2z.policy_rules import NO_RULES, Rules
from z2z.policy_text import parse_rules
from z2z.trust import Policy

log = logging.getLogger(__name__)

FILE_MAX: Final = 256 * 1024
"Bytes: 500 rules with lists of names."


class PolicyFile:
    """One policy.

    Args:
        path: of the file; None for no policy.
        trust: whether names of sites mean anything.
    """

    def __init__(self, path: Path | None, trust: Policy) -> None:
        self._path, self._trust = path, trust
        self._count = 0
        self._complaint = ""

    def read(self) -> Rules:
        """Return the rules in it.

        Raises:
            LocalProtocolError: it cannot be read, or has mistakes, which the text names.
        """
        if self._path is None:
            return NO_RULES
        try:
            with self._path.open("rb") as file:
                rules = self._checked(file.read(FILE_MAX + 1))
        except OSError as error:
            raise LocalProtocolError(f"policy {self._path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise LocalProtocolError(f"policy {self._path}: not UTF-8: {error.reason} at byte {error.start}") from error
        except LocalProtocolError as error:
            raise LocalProtocolError(f"policy {self._path}: {error}") from error
        self._count, self._complaint = len(rules.rules), ""
        return rules

    def reread(self) -> Rules | None:
        """Return the rules in it now; None, with a word in the log, if it is faulty."""
        try:
            return self.read()
        except LocalProtocolError as error:
            self._complaint = str(error)
            log.warning("%s; going on with the policy so far", error)
            return None

    def _checked(self, data: bytes) -> Rules:
        if len(data) > FILE_MAX:
            raise LocalProtocolError(f"more than {FILE_MAX} bytes, so it is some other file")
        rules = parse_rules(data.decode())
        if rules.by_site_name and self._trust is Policy.ANYBODY:
            raise LocalProtocolError(
                f"rule {rules.by_site_name[0]}: site is a name, which with --trust anybody all may take; give the "
                "key of 64 digits (z2z identity export, there), or believe known sites only"
            )
        return rules

    def describe(self) -> str:
        """Return how it stands, for `z2z status`; empty without a policy."""
        if self._path is None:
            return ""
        faulty = f"; as it is now it is not used: {self._complaint}" if self._complaint else ""
        return f"{self._count} rule{'' if self._count == 1 else 's'} of {self._path}{faulty}"
