"""What the node has counted since it was made; every limit and every refusal has a number here."""

import msgspec


class GistCounters(msgspec.Struct):
    """Whole numbers that only grow."""

    # What came, and what was done with it.
    received: int = 0
    "Datagrams."
    forwarded: int = 0
    "Sent on to the next node, as they were or with another payload of the NSLP."
    passed_on_untouched: int = 0
    "In transit, and none of our business."
    delivered: int = 0
    queries_answered: int = 0
    handshakes_as_responder: int = 0
    "Valid Confirms that made routing state or changed it."
    handshakes_as_querier: int = 0
    "Responses that made routing state or kept it alive."
    refreshes_answered: int = 0
    "Queries of established rows that needed no Confirm."
    queries_sent: int = 0
    queries_repeated: int = 0
    restarts: int = 0
    "Handshakes begun anew since the peer had lost its state, or its connection."
    last_node: int = 0
    route_changes: int = 0
    hellos_sent: int = 0

    # What peers did wrong, or networks did to them.
    no_magic: int = 0
    malformed: int = 0
    "Refused by the codec."
    wrong_encapsulation: int = 0
    hop_limit_exceeded: int = 0
    unknown_nslp: int = 0
    own_queries_back: int = 0
    "Loops."
    ingress_refused: int = 0
    wrong_ip_version: int = 0
    wrong_ip_ttl: int = 0
    untranslated: int = 0
    "Legacy NATs."
    bad_cookies: int = 0
    unexpected: int = 0
    "Responses and Errors for which nothing is waiting."
    no_routing_state: int = 0
    incorrectly_delivered: int = 0
    out_of_turn: int = 0
    "Inputs that a state machine has no step for."
    old_confirms: int = 0
    "Of handshakes older than the one that the row is from."

    # Limits.
    candidates_dropped: int = 0
    "Over `queries_per_s`."
    datagrams_held_back: int = 0
    "Over `datagrams_per_s`."
    errors_held_back: int = 0
    "Over the rate for one address or for all, or larger than what they answer allows."
    rows_refused: int = 0
    "Over `sessions_max`."
    associations_refused: int = 0
    "Over `associations_max`."
    associations_unconfirmed: int = 0
    "Closed since no valid Confirm came, in time or before others needed the room."
    queue_refused: int = 0
    "Over `queue_max` or `queue_bytes_max`, or over what may be under way on one association."
    payloads_left_out: int = 0
    "Of Responses that would have been too large with it."
    errors_sent: int = 0
    errors_received: int = 0
