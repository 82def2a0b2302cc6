"""Measures the signalling engine in memory, on virtual time: `python -m tools.signalling_memory KIND SESSIONS SEED`.

It prints one JSON object of figures. Only what the node does is timed; what its peers do is done between.
"""

import gc
import json
import random
import sys
import time
from array import array
from collections.abc import Callable
from heapq import heapify, heapreplace
from pathlib import Path
from typing import Final

from netserv.signaling.gist.config import NSLP_NETSERV
from netserv.signaling.gist.service import SendMessage
from netserv.signaling.gist.tlv import ObjectType
from netserv.signaling.gist.wire import MAGIC, MessageType
from netserv.signaling.nslp.publishers import Publishers
from tools.signalling_bytes import VALIDITY_S, Downstream, Upstream, host, mri_to
from tools.signalling_engine import DOWN, UP, Engine, Sent
from tools.signalling_requests import Requests
from tools.signalling_requests import answer as answer_to

BATCH: Final = 256
"Handshakes between two looks at the clock: so many are under way at a time on a busy node."
SETUP_S: Final = 15.0
"All sessions are set up in that time, so that the first refresh comes when the last one stands."
SETTLE_S: Final = 30.0
"Then the refreshes are spread."
MINUTE_S: Final = 60.0
_KIND: Final = len(MAGIC) + 6
_TYPE: Final = 0x7F

Figures = dict[str, float]


class Batches:
    """Processor time of what is done in batches."""

    def __init__(self) -> None:
        self.cpu_s = 0.0

    def __call__(self, work: list[Callable[[], list[Sent]]]) -> list[list[Sent]]:
        """Do it; return the datagrams of each."""
        begun = time.process_time()
        done = [one() for one in work]
        self.cpu_s += time.process_time() - begun
        return done


class Peers:
    """The two neighbours of the node, and the sessions between them."""

    def __init__(self, engine: Engine, seed: int, requests: Requests) -> None:
        self.engine, self.requests = engine, requests
        self.upstream = Upstream(UP, seed)
        self.downstream = Downstream(DOWN, UP)
        self.answered = 0

    def query(self, session: int, now: float) -> Callable[[], list[Sent]]:
        """A Query of the left neighbour, caught on its way."""
        payload, to = self.upstream.query(session), host(session)
        return lambda: self.engine.caught(payload, now, to=to)

    def confirm(self, session: int, response: bytes, now: float) -> Callable[[], list[Sent]]:
        """What follows its answer."""
        confirm = self.upstream.confirm(session, response)
        if confirm is None:
            raise AssertionError("a first Response without cookie")
        return lambda: self.engine.caught(confirm, now)

    def request(self, session: int, now: float) -> Callable[[], list[Sent]]:
        """A PROBE in that session."""
        data = self.upstream.data(session, self.requests.text(session))
        return lambda: self.engine.caught(data, now)

    def right(self, sent: Sent, now: float) -> Callable[[], list[Sent]] | None:
        """What the right neighbour says to a datagram; None for nothing, or where it is not for that one."""
        datagram = sent.payload
        if sent.to == UP:
            return None
        kind = datagram[_KIND] & _TYPE
        if kind == MessageType.QUERY:
            answer = self.downstream.response(datagram)
        elif kind == MessageType.DATA:
            request = self.downstream.reading.value(datagram, ObjectType.NSLP_DATA) or b""
            answer = self.downstream.back(datagram, answer_to(request, DOWN))
        else:
            return None
        return lambda: self.engine.caught(answer, now, of=DOWN)


def responder(sessions: int, seed: int) -> Figures:
    """Full handshakes, as the responding node."""
    engine, timed = Engine(seed), Batches()
    peers = Peers(engine, seed, Requests(seed, UP))
    for base in range(0, sessions, BATCH):
        now = base * SETUP_S / 50_000
        batch = range(base, min(sessions, base + BATCH))
        _handshakes(peers, batch, now, timed)
    _check(engine.gist.counters.handshakes_as_responder, sessions)
    return {"handshakes_per_s": sessions / timed.cpu_s, "handshake_us": timed.cpu_s / sessions * 1e6}


def querier(sessions: int, seed: int) -> Figures:
    """Full handshakes, as the querying node; the message for which it was made is sent too."""
    engine, timed = Engine(seed), Batches()
    peers = Peers(engine, seed, Requests(seed, UP))

    def send(session: int, now: float) -> Callable[[], list[Sent]]:
        mri = mri_to(UP, host(session))
        message = SendMessage(nslp_id=NSLP_NETSERV, sid=peers.upstream.sids[session], mri=mri, data=b"data")
        return lambda: engine.send(message, now)

    for base in range(0, sessions, BATCH):
        now = base * SETUP_S / 50_000
        queries = timed([send(session, now) for session in range(base, min(sessions, base + BATCH))])
        answers = [answer for sent in queries for one in sent if (answer := peers.right(one, now)) is not None]
        timed(answers)
    _check(engine.gist.counters.handshakes_as_querier, sessions)
    return {"handshakes_per_s": sessions / timed.cpu_s, "handshake_us": timed.cpu_s / sessions * 1e6}


def probes(sessions: int, seed: int) -> Figures:
    """Signed PROBEs through the node, each in a session of its own: two handshakes, two messages of the NSLP."""
    requests = Requests(seed, UP, is_signed=True)
    engine, timed = Engine(seed, Publishers(requests.publishers)), Batches()
    peers = Peers(engine, seed, requests)
    for base in range(0, sessions, BATCH):
        _exchange(peers, range(base, min(sessions, base + BATCH)), base / 1_000, timed)
    _check(engine.nslp.counters.responses, sessions)
    return {"exchanges_per_s": sessions / timed.cpu_s, "exchange_us": timed.cpu_s / sessions * 1e6}


def _handshakes(peers: Peers, batch: range, now: float, timed: Batches) -> None:
    responses = timed([peers.query(session, now) for session in batch])
    timed([peers.confirm(session, sent[0].payload, now) for session, sent in zip(batch, responses, strict=True)])


def _exchange(peers: Peers, batch: range, now: float, timed: Batches) -> None:
    _handshakes(peers, batch, now, timed)
    sent = timed([peers.request(session, now) for session in batch])
    while any(sent):
        sent = timed([answer for one in sent for each in one if (answer := peers.right(each, now)) is not None])


def responding(sessions: int, seed: int) -> Figures:
    """Sessions of which this node is the last one: one row each."""
    return _standing(sessions, seed, middle=False)


def middle(sessions: int, seed: int) -> Figures:
    """Sessions in whose path this node stands: a row to either side, and what the NSLP keeps of a long session."""
    return _standing(sessions, seed, middle=True)


def _standing(sessions: int, seed: int, *, middle: bool) -> Figures:
    engine, timed, rng = Engine(seed), Batches(), random.Random(seed)
    peers = Peers(engine, seed, Requests(seed, UP, long=True))
    refreshes = [(_opened_at(session, sessions) + _pause_s(rng), session) for session in range(sessions)]
    before = _resident_bytes()
    for base in range(0, sessions, BATCH):
        batch = range(base, min(sessions, base + BATCH))
        now = _opened_at(base, sessions)
        if middle:
            _exchange(peers, batch, now, timed)
        else:
            _handshakes(peers, batch, now, timed)
    gc.collect()
    resident = _resident_bytes() - before
    heapify(refreshes)
    settled = SETUP_S + SETTLE_S
    _refresh(peers, refreshes, rng, (SETUP_S, settled), array("q"))
    took_ns = array("q")
    ticks_ns = _refresh(peers, refreshes, rng, (settled, settled + MINUTE_S), took_ns)
    _check(sum(engine.gist.status(0.0).sessions.values()), sessions * (2 if middle else 1))
    ordered = sorted(took_ns)
    return {
        "bytes_per_session": resident / sessions,
        "core_share": (sum(ordered) + ticks_ns) / 1e9 / MINUTE_S,
        "messages": len(ordered),
        **{f"p{share}_ms": ordered[int(len(ordered) * share / 100)] / 1e6 for share in (50, 95, 99)},
        "max_ms": ordered[-1] / 1e6,
    }


def _refresh(
    peers: Peers,
    refreshes: list[tuple[float, int]],
    rng: random.Random,
    between: tuple[float, float],
    took_ns: "array[int]",
) -> int:
    """Let sessions be refreshed from both sides, in the order of virtual time.

    The time of each message is appended to `took_ns`; that of all ticks together is returned.
    """
    engine, clock = peers.engine, time.thread_time_ns
    now, end = between
    ticks_ns = 0

    def treat(message: Callable[[], list[Sent]]) -> None:
        begun = clock()
        message()
        took_ns.append(clock() - begun)

    while now < end:
        due = engine.next_deadline()
        if due <= refreshes[0][0]:
            now = max(now, due)
            begun = clock()
            queries = engine.tick(now)
            ticks_ns += clock() - begun
            for query in queries:
                if (answer := peers.right(query, now)) is not None:
                    treat(answer)
        else:
            now, session = refreshes[0]
            heapreplace(refreshes, (now + _pause_s(rng), session))
            treat(peers.query(session, now))
    return ticks_ns


def _opened_at(session: int, sessions: int) -> float:
    return (session - session % BATCH) / sessions * SETUP_S


def _pause_s(rng: random.Random) -> float:
    """Between two refreshes of a session (RFC 5971 section 4.4.4)."""
    return VALIDITY_S * rng.uniform(0.5, 0.75)


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096


def _check(found: int, wanted: int) -> None:
    if found != wanted:
        raise AssertionError(f"{found} of {wanted}")


KINDS: Final = {each.__name__: each for each in (responder, querier, probes, responding, middle)}


def main() -> int:
    """Measure one kind."""
    kind, sessions, seed = sys.argv[1:]
    print(json.dumps(KINDS[kind](int(sessions), int(seed))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
