"""GIST, the general internet signalling transport (RFC 5971, version 1), without I/O."""
