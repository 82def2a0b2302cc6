"""Containers: the confined processes of publishers, one each, and what the node says to them (thesis 6.1.4)."""
