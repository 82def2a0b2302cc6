"""The two timing profiles, for both protocols of a node, and what else all nodes have in common."""

from typing import Final, Literal, TypeAlias

import msgspec

from netserv.signaling.gist.config import GistConfig
from netserv.signaling.nslp.config import NslpConfig

Profile: TypeAlias = Literal["netserv", "rfc"]

IDENTITY_BYTES: Final = 16
"Of a node towards its peers, random and new with each start (RFC 5971 section 4.4.3)."
_DISCOVERY_S: Final[dict[Profile, float]] = {"netserv": 7.5, "rfc": 63.5}
"Until a node knows that no other is behind it, where nothing tells it so: all Queries and the wait after the last."


def gist_config(profile: Profile) -> GistConfig:
    """Settings of the GIST node."""
    return GistConfig.rfc() if profile == "rfc" else GistConfig()


def nslp_config(
    profile: Profile, *, public_probes: bool = False, thesis_mode: bool = False, secure: bool = False
) -> NslpConfig:
    """Settings of the NSLP beside it."""
    return msgspec.structs.replace(
        NslpConfig.for_discovery(_DISCOVERY_S[profile]),
        public_probes=public_probes,
        thesis_mode=thesis_mode,
        secure=secure,
    )
