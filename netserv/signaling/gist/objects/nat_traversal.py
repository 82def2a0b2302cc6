"""NAT-Traversal: what NATs on the way have changed (RFC 5971 appendix A.3.8)."""

import msgspec


class NatTraversal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Copied into answers as it came."""

    original_mri: bytes
    "Value of the MRI before translation."
    translated_types: tuple[int, ...]
    "First 16 bits of the headers of the objects that were translated."
    opaque: tuple[bytes, ...]
    "One for each NAT."
