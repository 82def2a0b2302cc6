"""NetMonitor: a module for nodes, which counts packets and streams the counts to its publisher (thesis 7.1)."""
