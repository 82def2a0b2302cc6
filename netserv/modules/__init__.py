"""Modules of third parties: how they are packed, and what they are written against."""
