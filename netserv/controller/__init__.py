"""The controller of a node: what is asked for, who may, what is installed and until when (thesis 6.1.2)."""
