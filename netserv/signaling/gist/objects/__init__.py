"""The objects of GIST messages (RFC 5971 appendix A.3), one file each: value, decoding, encoding."""
