"""On-path signalling: GIST (RFC 5971), the NetServ NSLP above it, and what carries both."""
