"""The controller behind the daemon's seam."""

from netserv.controller.controller import Controller
from netserv.controller.effects import Effect
from netserv.controller.handler import ControllerHandler
from netserv.signaling.handler import DaemonHandler, NodeFacts
from netserv.signaling.nslp.codes import Code, NslpError
from tests.netserv.controller.test_controller import carry_out
from tests.netserv.controller.wishes import arrival, policy, probe, remove, setup


def test_a_daemon_has_all_that_it_needs_of_it() -> None:
    made = Controller(policy(), 0.0)
    done: list[Effect] = []

    def perform(effects: list[Effect]) -> None:
        done.extend(carry_out(made, effects, 0.0))

    handler = ControllerHandler(made, perform, clock=lambda: 100.0)
    daemon: DaemonHandler = handler
    assert daemon.users == ("alice", "bob")
    request = setup()
    assert len(daemon.keys_for(request)) == 1
    assert daemon.handle(request, arrival(request), 0.0).code == 202
    assert done
    daemon.refused(request, arrival(request), NslpError("no", code=Code.GONE), 0.0)
    daemon.look(NodeFacts(uptime_s=7.0))
    ask = probe("alice", "status", "capabilities", target=None)
    lines = dict(daemon.handle(ask, arrival(ask), 0.0).lines)
    assert lines["status"] == "running 1 modules of 1 publishers, up 7 s"
    assert lines["capabilities"] == "signalling,modules"
    described = daemon.described()
    assert described["modules"] == [
        {
            "job": 1,
            "user": "alice",
            "module": "NetServ.apps.NetMonitor_1.0.0",
            "state": "active",
            "ttl_s": 3_600,
            "authorization": "prefix",
            "left_s": 3_500.0,
        }
    ]
    assert described["answered"] == {"PROBE 200": 1, "SETUP 202": 1, "SETUP 410": 1}


def test_a_failure_is_described_with_its_reason_and_a_refusal_is_counted() -> None:
    made = Controller(policy(), 0.0)
    handler = ControllerHandler(made, lambda _effects: None, clock=lambda: 100.0)
    request = setup()
    handler.handle(request, arrival(request), 0.0)
    made.lifecycle.failed(1, Code.TOO_LARGE, "too large", 1.0)
    (module,) = handler.described()["modules"]
    assert (module["state"], module["code"], module["text"]) == ("failed", 413, "too large")
    foreign = remove("bob")
    try:
        handler.handle(foreign, arrival(foreign), 1.0)
    except NslpError as error:
        refused = error.code
    assert refused == 404
    assert handler.answered["REMOVE", 404] == 1
