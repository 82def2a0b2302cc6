"""Experiments that ask whether what the thesis claims of one node per subnet holds (mDHT design, section 16)."""
