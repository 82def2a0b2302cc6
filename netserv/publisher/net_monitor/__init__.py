"""The publisher's side of NetMonitor: gets the counts of all nodes on a path, and shows them on a page."""
