"""Settings of how a router is asked for a port."""

import msgspec


class MapperConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds."""

    lifetime_s: int = 7200
    "Asked for: RFC 6886 section 3.3 recommends it."
    lifetime_least_s: int = 8
    "A router that grants less is asked no more often: renewals are 4 s apart at least (RFC 6887 section 11.2.1)."
    lifetime_most_s: int = 86_400
    "A router that grants more is asked all the same: a day is the most that RFC 6887 section 15 recommends."
    pcp_first_s: float = 3.0
    "Until a request is sent again (RFC 6887 section 8.1.1); twice as long each time."
    pcp_longest_s: float = 1024.0
    pcp_tries: int = 2
    "Before NAT-PMP is tried; RFC 6887 goes on for ever, and so do we, from `rest` to `rest`."
    natpmp_first_s: float = 0.25
    "RFC 6886 section 3.1; twice as long each time."
    natpmp_tries: int = 5
    "Up to 8 s; the RFC's 9 take two minutes, which a router that knows UPnP only would cost."
    upnp: bool = True
    "Whether a router that knows neither is asked by UPnP."
    upnp_s: float = 20.0
    "Longest wait for its answer: 6 s for discovery, and a few slow calls of HTTP."
    check_s: float = 60.0
    "Between two looks whether the router still has the mapping: not all announce that they have lost it."
    recover_s: float = 3.0
    "Hosts that hear that the router has lost all ask again within so long, not all at once."
    renew_apart_s: float = 4.0
    "RFC 6887 section 11.2.1."
    rest_first_s: float = 60.0
    "Until a router that has not answered is asked again; twice as long each time, up to RFC 6887's longest."
    rest_longest_s: float = 1024.0
    refused_least_s: float = 30.0
    "Of the time that a refusal says to wait: a short-lived error's in RFC 6887 section 7.4,"
    refused_most_s: float = 1800.0
    "and a long-lived one's."
    end_s: float = 0.25
    "Until a deletion is sent again."
    end_tries: int = 3
    ports_tried: int = 4
    "By UPnP, where others may have a port: our own number, and some by chance."

    def __post_init__(self) -> None:
        if min(self.pcp_tries, self.natpmp_tries, self.end_tries, self.ports_tried, self.lifetime_least_s) < 1:
            raise ValueError("tries and lifetimes must be at least 1")
        if not self.lifetime_least_s <= self.lifetime_s <= self.lifetime_most_s:
            raise ValueError("lifetime_s must be within lifetime_least_s..lifetime_most_s")
        times = (self.pcp_first_s, self.natpmp_first_s, self.upnp_s, self.check_s, self.rest_first_s, self.end_s)
        if min(times) <= 0 or self.recover_s < 0:
            raise ValueError("times must be above 0")
