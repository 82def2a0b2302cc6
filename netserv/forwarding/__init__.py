"""The packet path: filters, the planes that install them, and the rings to containers (thesis 6.1.3)."""
