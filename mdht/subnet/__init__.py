"""A subnet as one node of the overlay (thesis chapter 3): identity, wire, membership."""
