"""Asks the router for a port that it forwards: PCP, NAT-PMP and UPnP, without I/O (mDHT design, section 13)."""
