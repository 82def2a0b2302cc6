"""How long a node keeps GIST's routing state of a session: until its requests are answered, unless declared long."""

import msgspec

from netserv.signaling.gist.objects.mri import Direction, Mri
from netserv.signaling.nslp.config import NslpConfig
from netserv.signaling.nslp.deadlines import Deadlines
from netserv.signaling.nslp.effects import NslpEffect, SetStateLifetime
from netserv.signaling.nslp.exchange import SessionKey


def downstream(mri: Mri) -> Mri:
    """The same flow, towards its destination."""
    return mri if mri.direction == Direction.DOWNSTREAM else _turned(mri, Direction.DOWNSTREAM)


def upstream(mri: Mri) -> Mri:
    """The same flow, towards its source."""
    return mri if mri.direction == Direction.UPSTREAM else _turned(mri, Direction.UPSTREAM)


def _turned(mri: Mri, direction: Direction) -> Mri:
    return msgspec.structs.replace(mri, direction=direction)


class _Session:
    __slots__ = ("long", "open")

    def __init__(self) -> None:
        self.open = 0
        "Requests that wait for an answer."
        self.long = False


class Sessions:
    """Counts the open requests of each session, and releases its routing state after the last."""

    def __init__(self, config: NslpConfig) -> None:
        self._config = config
        self._sessions: dict[SessionKey, _Session] = {}
        self._release: Deadlines[SessionKey] = Deadlines()
        self.long = 0
        "Sessions declared long."

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, key: SessionKey) -> None:
        """A request has come."""
        self._sessions.setdefault(key, _Session()).open += 1
        self._release.drop(key)

    def lengthen(self, key: SessionKey) -> list[NslpEffect]:
        """Its requester has declared it long, and may."""
        session = self._sessions[key]
        if not session.long:
            if self.long >= self._config.long_sessions_max:
                return []
            session.long = True
            self.long += 1
        return self._lifetime(key, self._config.long_session_s)

    def end(self, key: SessionKey, now: float) -> None:
        """A request is answered."""
        session = self._sessions[key]
        session.open -= 1
        if not session.open:
            self._release.set(key, now + (self._config.long_session_s if session.long else self._config.linger_s))

    def again(self, key: SessionKey, now: float) -> None:
        """An answer is sent again: let the state stay for that, too."""
        session = self._sessions.get(key)
        if session is None or (not session.open and not session.long):
            self._sessions.setdefault(key, _Session())
            self._release.set(key, now + self._config.linger_s)

    def tick(self, now: float) -> list[NslpEffect]:
        """Release what is due."""
        effects: list[NslpEffect] = []
        for key in self._release.due(now):
            self.long -= self._sessions.pop(key).long
            effects += self._lifetime(key, 0.0)
        return effects

    def next_deadline(self) -> float:
        """When to call `tick`."""
        return self._release.next()

    def _lifetime(self, key: SessionKey, lifetime_s: float) -> list[NslpEffect]:
        sid, mri = key
        return [
            SetStateLifetime(nslp_id=self._config.nslp_id, mri=way, sid=sid, lifetime_s=lifetime_s)
            for way in (downstream(mri), upstream(mri))
        ]
