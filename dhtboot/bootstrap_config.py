"""Settings of the bootstrap server."""

import math

import msgspec


class BootstrapConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Checked settings of the server."""

    lease_s: float = 600.0
    "An entry lives so long after its last report; nodes report again after half of it."
    founding_s: float = 10.0
    "The first node has so long to report before another may begin the overlay: two retries of a join (5 s each)."
    nodes_max: int = 131_072
    "Entries; the largest overlay of the thesis has 128,000 nodes. About 300 bytes each."
    nodes_per_source_max: int = 16_384
    "Entries of one host or IPv6 site: a test bed of 10,000 nodes on one machine, and no source fills the table alone."
    requests_per_s: float = 4000.0
    "Requests answered per source and second: a test bed joins 1,000 nodes a second with two requests each."
    requests_burst: float = 8000.0
    cookie_rotation_s: float = 3600.0
    "Cookies live one to two rotations."

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be above 0")
        if self.requests_burst < 1:
            raise ValueError("requests_burst must be at least 1")
