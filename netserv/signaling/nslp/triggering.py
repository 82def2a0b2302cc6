"""A TRIGGER at its last node: whether its inner request may be sent, and the sending (thesis 7.5.1)."""

from random import Random

import msgspec

from netserv.signaling.gist.objects.mri import Direction, Mri, PathCoupledMri
from netserv.signaling.nslp.asking import Asks
from netserv.signaling.nslp.codes import Code
from netserv.signaling.nslp.config import NslpConfig
from netserv.signaling.nslp.effects import NslpEffect
from netserv.signaling.nslp.exchange import Exchange
from netserv.signaling.nslp.handling import Answer, Arrival
from netserv.signaling.nslp.judging import Judge
from netserv.signaling.nslp.requests import Probe, Setup, Trigger, encode, request_id
from netserv.signaling.nslp.text import padded

SID_BYTES = 16


class Leave(msgspec.Struct, frozen=True):
    """What this node says to the inner request, and whether it sends it."""

    answer: Answer
    may_send: bool


class WayBack:
    """Sends inner requests, in flows of their own, towards where the TRIGGER came from.

    Args:
        config: limits and times.
        node_id: what this node is called.
        judge: what it says; None on a host that is no node.
        asks: the node's own requests.
        rng: for session identifiers.
    """

    def __init__(self, *, config: NslpConfig, node_id: str, judge: Judge | None, asks: Asks, rng: Random) -> None:
        self._config = config
        self._node_id = node_id
        self._judge = judge
        self._asks = asks
        self._rng = rng

    def leave(self, trigger: Trigger, arrival: Arrival, now: float) -> Leave:
        """Judge a TRIGGER and then what it holds.

        Nothing is sent that every node of the way back would refuse as this one does: by signature, flow or expiry.
        What only this node's own rules refuse goes out all the same.
        """
        if self._judge is None:
            return Leave(Answer(code=Code.FORBIDDEN, text="this host is no NetServ node: it sends nothing back"), False)
        if trigger.node_id not in {None, self._node_id}:
            return Leave(Answer(code=Code.NOT_FOUND, text=f"node {trigger.node_id} is not on this path"), False)
        if self._asks.triggered >= self._config.triggers_max:
            return Leave(
                Answer(code=Code.TOO_MANY, text="too many TRIGGERs are under way here: try again later"), False
            )
        outer = self._judge.judge(trigger, arrival, now)
        if outer.answer.code >= 300:
            return Leave(outer.answer, False)
        back = msgspec.structs.replace(
            arrival, flow=arrival.flow.swapped(), distance=0, interface=0, to_flow_endpoint=False
        )
        inner = self._judge.judge(trigger.inner, back, now)
        return Leave(inner.answer, inner.authentic)

    def send(self, exchange: Exchange, inner: Setup | Probe, now: float) -> list[NslpEffect]:
        """Open the flow."""
        text = encode(inner)
        mri = _swapped(exchange.key[1])
        session = (self._rng.randbytes(SID_BYTES), mri)
        return self._asks.begin(
            padded(text),
            request_id(inner, text),
            session,
            reliable=True,
            within_s=self._config.answer_within_s,
            now=now,
            inner_of=exchange.key,
        )


def _swapped(mri: Mri) -> Mri:
    """The flow of the other way; what a NAT or a filter said of ports is not known there, so addresses alone count."""
    if isinstance(mri, PathCoupledMri):
        return PathCoupledMri(
            source=mri.destination,
            destination=mri.source,
            source_prefix=mri.destination_prefix,
            destination_prefix=mri.source_prefix,
        )
    return msgspec.structs.replace(mri, source=mri.destination, destination=mri.source, direction=Direction.DOWNSTREAM)
