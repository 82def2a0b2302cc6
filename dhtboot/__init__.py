"""Overlays from nothing: Chord and Kademlia as protocol cores without I/O (thesis chapter 2)."""
