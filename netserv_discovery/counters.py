"""Counters in words."""

from collections.abc import Mapping


def counted(counters: Mapping[str, int]) -> str:
    """Counters for people, `1 bad_signature, 3 expired`; empty where all are 0."""
    return ", ".join(f"{number} {name}" for name, number in sorted(counters.items()) if number)
