"""Finds NetServ nodes, and what they offer: on the link, world-wide through the DHT, and along a path."""
