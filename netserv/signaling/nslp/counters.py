"""What one node's NSLP has counted, for `status` and metrics."""

import msgspec


class NslpCounters(msgspec.Struct, kw_only=True):
    """Since the node started."""

    requests: int = 0
    "That came from upstream, new ones."
    repeated: int = 0
    "That came again in their session."
    seen_before: int = 0
    "That came again in another session, and were answered as before."
    malformed: int = 0
    "Texts that could not be read."
    refused: int = 0
    "By signature, flow, nonce, expiry or the node's own rules: codes of 300 and more."
    handled: int = 0
    "Given to the handler."
    overload: int = 0
    "Sent on without being treated, since too many waited."
    sent_on: int = 0
    sent_again: int = 0
    turned: int = 0
    "Answered as last node."
    responses: int = 0
    "From further down, that were waited for."
    late: int = 0
    "From further down, after they were waited for."
    unasked: int = 0
    "That belong to nothing here."
    strays: int = 0
    "Requests against the flow, responses with it."
    unvalidated: int = 0
    "Without routing state between this node and the one before it."
    alone: int = 0
    "Answered without anything from further down."
    triggers: int = 0
    "Inner requests sent."
    truncated: int = 0
    "Responses whose stack had no room for this node."
    asked: int = 0
    answered: int = 0
    abandoned: int = 0
