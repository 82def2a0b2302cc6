"""Multicast DNS for the bridge (RFC 6762, 6763): querier and responder as cores without I/O, one link in trio.

It is our own because python-zeroconf splits instance names at their dots when it asks, keeps pointers of dead services
for at least 1,125 s, and hides subtypes and lifetimes from a browser.
"""
