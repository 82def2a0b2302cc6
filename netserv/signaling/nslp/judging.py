"""What a node says to a request: who has signed, is it for this path and time, was it here before; then the handler."""

from collections.abc import Callable

import msgspec

from netserv.signaling.nslp.codes import Code, NslpError
from netserv.signaling.nslp.config import NslpConfig
from netserv.signaling.nslp.counters import NslpCounters
from netserv.signaling.nslp.handling import Answer, Arrival, Handler
from netserv.signaling.nslp.replay import SeenRequests, check_claims
from netserv.signaling.nslp.requests import Probe, Request, Trigger, encode, identity_of
from netserv.signaling.nslp.responses import TEXT_MAX
from netserv.signaling.nslp.signing import signer_of


class Verdict(msgspec.Struct, frozen=True):
    """What is said, and by whose leave."""

    answer: Answer
    authentic: bool
    "The request is what its signer meant for this path and time, whatever the answer."


class Judge:
    """Judges requests for one node.

    Args:
        config: rules.
        node_id: what the node is called.
        handler: is asked once for each authentic request.
        unix_time: the wall clock, seconds.
        counters: of the node.
    """

    def __init__(
        self,
        *,
        config: NslpConfig,
        node_id: str,
        handler: Handler,
        unix_time: Callable[[], float],
        counters: NslpCounters,
    ) -> None:
        self._config = config
        self._node_id = node_id
        self._handler = handler
        self._unix_time = unix_time
        self._counters = counters
        self.seen = SeenRequests(config)

    def judge(self, request: Request, arrival: Arrival, now: float) -> Verdict:
        """Say what this node says to a request, and act on it unless that was done before."""
        try:
            arrival = self._authenticated(request, arrival)
        except NslpError as error:
            self._handler.refused(request, arrival, error, now)
            return Verdict(refusal(error), authentic=False)
        if request.node_id not in {None, self._node_id}:
            return Verdict(Answer(code=Code.OK, text=f"relayed: it is for node {request.node_id}"), authentic=True)
        try:
            return Verdict(self._once(request, arrival, now), authentic=True)
        except NslpError as error:
            return Verdict(refusal(error), authentic=True)

    def _authenticated(self, request: Request, arrival: Arrival) -> Arrival:
        """The arrival, with the key that has signed the request.

        Raises:
            NslpError: nobody has, whom this node knows; or not for this path and time.
        """
        publisher = self._publisher(request)
        check_claims(request, arrival.flow, self._unix_time(), self._config)
        return msgspec.structs.replace(arrival, publisher=publisher)

    def _publisher(self, request: Request) -> bytes | None:
        if request.user is None:
            inner = request.inner if isinstance(request, Trigger) else request
            if isinstance(inner, Probe) and self._config.public_probes:
                return None
            raise NslpError("nobody has signed, and this node answers no public probes", code=Code.UNAUTHORIZED)
        keys = self._handler.keys_for(request)
        if not keys:
            raise NslpError(f"publisher {request.user} is not known here", code=Code.UNAUTHORIZED)
        publisher = signer_of(request, keys)
        if publisher is None:
            raise NslpError(f"the signature is not {request.user}'s", code=Code.UNAUTHORIZED)
        return publisher

    def _once(self, request: Request, arrival: Arrival, now: float) -> Answer:
        """Ask the handler, or repeat what it has said."""
        unix_now = self._unix_time()
        publisher = arrival.publisher
        if isinstance(request, Trigger) or publisher is None or request.nonce is None or request.expires is None:
            return self._asked(request, arrival, now)
        identity = identity_of(encode(request))
        answer = self.seen.look(publisher, request.nonce, identity, unix_now)
        if answer is not None:
            self._counters.seen_before += 1
            return answer
        answer = self._asked(request, arrival, now)
        self.seen.remember(publisher, request.nonce, identity, request.expires, answer)
        return answer

    def _asked(self, request: Request, arrival: Arrival, now: float) -> Answer:
        self._counters.handled += 1
        try:
            return self._handler.handle(request, arrival, now)
        except NslpError as error:
            return refusal(error)


def refusal(error: NslpError) -> Answer:
    """The answer of an error."""
    return Answer(code=error.code, text=str(error)[:TEXT_MAX])
