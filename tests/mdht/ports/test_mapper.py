import ipaddress
import itertools
import math
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.ports import natpmp, pcp
from mdht.ports.config import MapperConfig
from mdht.ports.effects import Cause, Protocol, ToGateway, UpnpDeleted, UpnpGranted, UpnpLost, UpnpMap, UpnpSilent
from mdht.ports.mapper import PortMapper
from mdht.ports.table import TRANSITIONS, Action, Input, Stage
from tests.mdht.ports.routers import CONFIG, GATEWAY, HOME, NONCE, OUTSIDE, PORT, Host, Router

FORWARDED = (str(OUTSIDE), PORT)
CARRIER = ipaddress.IPv4Address("100.64.3.2")


@pytest.mark.parametrize(
    ("speaks", "protocol", "within_s"),
    [
        (("pcp",), Protocol.PCP, 0.0),
        (("pcp", "natpmp", "upnp"), Protocol.PCP, 0.0),
        (("natpmp",), Protocol.NAT_PMP, 0.0),  # it says at once that it knows no PCP
        (("upnp",), Protocol.UPNP, 19.0),
    ],
)
def test_the_port_is_had_by_the_first_protocol_that_the_router_speaks(
    speaks: tuple[str, ...], protocol: Protocol, within_s: float
) -> None:
    host = Host(Router(*speaks))
    host.begin()
    host.run(within_s)
    held = host.mapper.held
    assert held is not None
    assert (held.protocol, held.outside) == (protocol, FORWARDED)
    assert held.until > host.now
    assert host.mapper.stage is Stage.HELD


@pytest.mark.parametrize("speaks", ["pcp", "natpmp", "upnp"])
def test_another_port_is_as_good_where_ours_is_taken(speaks: str) -> None:
    host = Host(Router(speaks))
    host.router.taken = {PORT}
    host.begin()
    host.run(20.0)
    held = host.mapper.held
    assert held is not None
    assert held.outside[0] == str(OUTSIDE)
    assert {held.outside[1]} == set(host.router.forwards) != {PORT}


def test_a_request_without_an_answer_is_repeated_ever_more_rarely_then_the_next_protocol_is_tried() -> None:
    host = Host(Router())
    host.begin()
    host.run(30.0)
    by_pcp, by_natpmp = host.requests(pcp.Request), host.requests(natpmp.Request)
    assert len(by_pcp) == CONFIG.pcp_tries
    assert 2.7 <= by_pcp[1] - by_pcp[0] <= 3.3, "RFC 6887 section 8.1.1"
    assert len(by_natpmp) == 2 * CONFIG.natpmp_tries, "address and port each time"
    waits = [after - before for before, after in itertools.pairwise(by_natpmp[::2])]
    assert waits == pytest.approx([0.25, 0.5, 1.0, 2.0]), "RFC 6886 section 3.1"
    assert len(host.requests(UpnpMap)) == 1
    assert (host.mapper.stage, host.mapper.lack.cause) == (Stage.RESTING, Cause.SILENT)


def test_a_silent_router_is_asked_again_for_ever_but_rarely() -> None:
    host = Host(Router())
    host.begin()
    host.run(86_400.0)
    assert 60 <= len(host.requests(pcp.Request)) / CONFIG.pcp_tries <= 120, "some 100 times a day"
    host.router.speaks = {"pcp"}
    host.run(1.1 * CONFIG.rest_longest_s)
    assert host.outside == FORWARDED


def test_a_router_at_whose_port_nobody_listens_is_not_waited_for() -> None:
    host = Host(Router("upnp"))
    host.begin()
    host.perform(host.mapper.unreachable(host.now))
    host.perform(host.mapper.unreachable(host.now))
    assert host.mapper.held is not None
    assert host.mapper.held.protocol is Protocol.UPNP


@pytest.mark.parametrize(
    ("number", "name", "says_s", "waits_s"),
    [
        (pcp.Result.NOT_AUTHORIZED, "NOT_AUTHORIZED", 1800, 1800.0),
        (pcp.Result.NO_RESOURCES, "NO_RESOURCES", 1, 30.0),
        (pcp.Result.ADDRESS_MISMATCH, "ADDRESS_MISMATCH", 1 << 31, 1800.0),
        (77, "result 77", 60, 60.0),
    ],
)
def test_a_refusal_is_told_by_its_name_and_holds_for_as_long_as_it_says_within_bounds(
    number: int, name: str, says_s: int, waits_s: float
) -> None:
    host = Host(Router("pcp"))
    host.router.refusal, host.router.refused_s = number, says_s
    host.begin()
    lack = host.mapper.lack
    assert (host.mapper.stage, lack.cause, lack.protocol, lack.detail) == (
        Stage.RESTING,
        Cause.REFUSED,
        Protocol.PCP,
        name,
    )
    assert 0.89 * waits_s <= host.mapper.next_deadline() - host.now <= 1.11 * waits_s
    host.router.refusal = 0
    host.run(1.11 * waits_s)
    assert host.outside == FORWARDED


@pytest.mark.parametrize("result", [pcp.Result.UNSUPP_OPCODE, pcp.Result.UNSUPP_PROTOCOL, pcp.Result.UNSUPP_VERSION])
def test_a_server_of_pcp_without_mappings_is_asked_by_the_next_protocol(result: int) -> None:
    host = Host(Router("pcp", "natpmp"))
    host.router.refusal = result
    mapper = host.mapper
    mapper.place(GATEWAY, HOME, host.now)
    answer = pcp.Response(opcode=1, result=result, lifetime_s=1800, epoch_s=1)
    sent = mapper.receive(answer.encode(), host.now)
    assert [effect.data[0] for effect in sent if isinstance(effect, ToGateway)] == [0, 0]


def test_a_refusal_by_nat_pmp_is_told_too() -> None:
    host = Host(Router("natpmp"))
    host.router.refusal = natpmp.Result.NOT_AUTHORIZED
    host.begin()
    assert (host.mapper.lack.protocol, host.mapper.lack.detail) == (Protocol.NAT_PMP, "NOT_AUTHORIZED")


@pytest.mark.parametrize("outside", [CARRIER, ipaddress.IPv4Address("10.0.0.2")])
@pytest.mark.parametrize("speaks", ["pcp", "natpmp", "upnp"])
def test_a_port_of_a_router_that_is_itself_behind_one_is_given_back(
    speaks: str, outside: ipaddress.IPv4Address
) -> None:
    host = Host(Router(speaks, outside=outside))
    host.begin()
    host.run(20.0)
    assert (host.mapper.held, host.mapper.lack.cause) == (None, Cause.TRANSLATED)
    assert host.mapper.lack.outside == (str(outside), PORT)
    assert host.router.forwards == {}


def test_it_is_kept_where_private_addresses_are_allowed() -> None:
    host = Host(Router("pcp", outside=CARRIER), allow_private=True)
    host.begin()
    assert host.outside == (str(CARRIER), PORT)


@pytest.mark.parametrize("speaks", ["pcp", "natpmp", "upnp"])
def test_a_port_is_renewed_in_time_for_ever(speaks: str) -> None:
    host = Host(Router(speaks))
    host.router.lifetime_s = 600
    host.begin()
    host.run(20.0)
    for _ in range(500):
        host.run(20.0)
        held = host.mapper.held
        assert held is not None
        assert held.until > host.now


def test_a_renewal_without_an_answer_is_repeated_at_the_times_of_the_standard_and_then_the_port_is_gone() -> None:
    host = Host(Router("pcp"), msgspec.structs.replace(CONFIG, check_s=1e9))
    host.router.lifetime_s = 1000
    host.begin()
    start, asked = host.now, len(host.router.asked)
    host.router.speaks.clear()
    host.run(999.9)
    times = [at - start for at, _request in host.router.asked[asked:]]
    assert 500 <= times[0] <= 625, "RFC 6887 section 11.2.1"
    assert 750 <= times[1] <= 812.5
    assert 875 <= times[2] <= 906.25
    assert min(after - before for before, after in itertools.pairwise(times)) >= CONFIG.renew_apart_s
    assert len(times) <= 10
    assert host.outside == FORWARDED
    host.run(0.2)
    assert (host.outside, host.mapper.stage) == (None, Stage.ASKING)


@pytest.mark.parametrize("speaks", ["pcp", "natpmp"])
def test_a_router_that_announces_that_it_has_lost_its_state_is_asked_again_within_seconds(speaks: str) -> None:
    host = Host(Router(speaks))
    host.begin()
    host.run(30.0)
    host.perform(host.mapper.announced(host.router.restart(host.now), host.now))
    assert host.outside == FORWARDED, "nothing is known to be lost for good"
    host.run(CONFIG.recover_s)
    assert (host.outside, set(host.router.forwards)) == (FORWARDED, {PORT})
    assert host.mapper.counters["port_state_lost"] == 1


@pytest.mark.parametrize("speaks", ["pcp", "natpmp", "upnp"])
def test_the_loss_is_found_without_an_announcement_too(speaks: str) -> None:
    host = Host(Router(speaks))
    host.begin()
    host.run(40.0)
    host.router.restart(host.now)
    host.run(CONFIG.check_s + CONFIG.recover_s)
    assert (host.outside, set(host.router.forwards)) == (FORWARDED, {PORT})


@pytest.mark.parametrize("speaks", ["pcp", "natpmp", "upnp"])
def test_another_outside_address_is_noticed(speaks: str) -> None:
    host = Host(Router(speaks))
    host.begin()
    host.run(40.0)
    host.router.outside = ipaddress.IPv4Address("11.0.3.9")
    host.router.restart(host.now)
    host.run(CONFIG.check_s + CONFIG.recover_s)
    assert host.outside == ("11.0.3.9", PORT)


def test_an_update_that_the_server_sends_by_itself_is_taken() -> None:
    host = Host(Router("pcp"))
    host.begin()
    got = pcp.Mapping(nonce=NONCE, internal_port=PORT, external_port=4000, external=OUTSIDE)
    told = pcp.Response(opcode=1, result=0, lifetime_s=3600, epoch_s=500, mapping=got)
    host.perform(host.mapper.receive(told.encode(), host.now))
    assert host.outside == (str(OUTSIDE), 4000), "RFC 6887 section 11.5"


def test_an_announcement_of_a_sound_router_changes_nothing() -> None:
    host = Host(Router("pcp"))
    host.begin()
    host.run(30.0)
    asked = len(host.router.asked)
    told = pcp.Response(opcode=0, result=0, lifetime_s=0, epoch_s=530)
    assert host.mapper.announced(told.encode(), host.now) == []
    assert (host.mapper.stage, len(host.router.asked)) == (Stage.HELD, asked)


def test_a_router_that_has_learnt_to_speak_is_asked_as_soon_as_it_announces_itself() -> None:
    host = Host(Router())
    host.begin()
    host.run(40.0)
    assert host.mapper.lack.cause is Cause.SILENT
    host.router.speaks = {"pcp"}
    host.perform(host.mapper.announced(host.router.restart(host.now), host.now))
    host.run(CONFIG.recover_s)
    assert host.outside == FORWARDED


def test_that_there_is_no_gateway_is_known_after_the_first_look() -> None:
    host = Host(Router("pcp"))
    assert host.mapper.lack.cause is Cause.STARTING
    assert host.mapper.place(None, None, host.now) == []
    assert host.mapper.lack.cause is Cause.NO_GATEWAY
    host.begin()
    assert host.outside == FORWARDED


def test_another_gateway_is_asked_at_once_and_the_port_of_the_former_one_is_no_more_ours() -> None:
    host = Host(Router("pcp"))
    host.begin()
    host.router = Router("natpmp", outside=ipaddress.IPv4Address("11.0.9.2"))
    host.perform(host.mapper.place(ipaddress.IPv4Address("192.168.9.1"), HOME, host.now))
    assert host.outside == ("11.0.9.2", PORT)
    host.perform(host.mapper.place(None, None, host.now))
    assert (host.outside, host.mapper.lack.cause) == (None, Cause.NO_GATEWAY)
    assert host.mapper.next_deadline() == math.inf


@pytest.mark.parametrize("speaks", ["pcp", "natpmp", "upnp"])
def test_the_port_is_given_back_at_the_end(speaks: str) -> None:
    host = Host(Router(speaks))
    host.begin()
    host.run(20.0)
    assert host.router.forwards
    host.stop()
    assert (host.mapper.ended, host.router.forwards, host.outside) == (True, {}, None)
    assert host.mapper.next_deadline() == math.inf


def test_a_deletion_is_repeated_a_few_times_where_the_router_is_silent() -> None:
    host = Host(Router("pcp"))
    host.begin()
    host.router.speaks.clear()
    asked = len(host.router.asked)
    host.stop()
    host.run(10.0)
    assert len(host.router.asked) - asked == CONFIG.end_tries
    assert host.mapper.ended


def test_a_port_that_upnp_gives_after_the_end_goes_back_too_and_one_that_it_has_not_given_is_left_alone() -> None:
    host = Host(Router("upnp"))
    host.mapper.place(GATEWAY, HOME, host.now)
    host.mapper.unreachable(host.now)
    host.mapper.unreachable(host.now)
    assert host.mapper.stop(host.now) == [], "the port of that number may be another host's"
    (deletion,) = host.mapper.upnp_answered(UpnpGranted(external=OUTSIDE, port=PORT, lifetime_s=9), host.now)
    host.router.forwards[PORT] = b""
    host.perform([deletion])
    assert (host.mapper.ended, host.router.forwards) == (True, {})


def test_without_upnp_a_user_is_told_why() -> None:
    host = Host(Router())
    host.mapper.place(GATEWAY, HOME, host.now)
    host.mapper.unreachable(host.now)
    host.mapper.unreachable(host.now)
    host.mapper.upnp_answered(UpnpSilent("it is not installed"), host.now)
    assert (host.mapper.lack.cause, host.mapper.lack.detail) == (Cause.SILENT, "it is not installed")


@pytest.mark.parametrize(
    "change",
    [{"nonce": bytes(12)}, {"internal_port": PORT + 1}, {"protocol": 6}],
    ids=["nonce", "port", "protocol"],
)
def test_an_answer_about_another_mapping_is_counted_and_nothing_else(change: dict[str, object]) -> None:
    host = Host(Router())
    host.begin()
    got = pcp.Mapping(nonce=NONCE, internal_port=PORT, external_port=PORT, external=OUTSIDE)
    told = pcp.Response(opcode=1, result=0, lifetime_s=60, epoch_s=1, mapping=msgspec.structs.replace(got, **change))
    assert host.mapper.receive(told.encode(), host.now) == []
    assert (host.outside, host.mapper.counters["port_answers_strange"]) == (None, 1)


def test_a_late_answer_by_pcp_counts_while_the_next_protocol_is_tried() -> None:
    host = Host(Router())
    host.begin()
    host.run(11.0)
    host.router.speaks = {"pcp"}
    got = pcp.Mapping(nonce=NONCE, internal_port=PORT, external_port=PORT, external=OUTSIDE)
    late = pcp.Response(opcode=1, result=0, lifetime_s=600, epoch_s=1, mapping=got)
    host.perform(host.mapper.receive(late.encode(), host.now))
    assert host.mapper.held is not None
    assert host.mapper.held.protocol is Protocol.PCP


@pytest.mark.parametrize(("stage", "what"), [*itertools.product(Stage, Input)])
def test_a_pair_outside_the_table_changes_nothing_and_one_inside_leads_where_it_says(stage: Stage, what: Input) -> None:
    mapper = PortMapper(PORT, NONCE, CONFIG, Random(1))
    mapper.place(GATEWAY, HOME, 0.0)
    mapper.stage = stage
    mapper._on(what, 1.0)
    after, _action = TRANSITIONS.get((stage, what), (stage, Action.NONE))
    if (stage, what) == (Stage.ASKING, Input.UNSPOKEN):
        after = Stage.ASKING
    assert mapper.stage is after


answers = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda result, lifetime_s, epoch_s, port, external, body: pcp.Response(
            opcode=int(body),
            result=result,
            lifetime_s=lifetime_s,
            epoch_s=epoch_s,
            mapping=pcp.Mapping(nonce=NONCE, internal_port=PORT, external_port=port, external=external)
            if body
            else None,
        ).encode(),
        st.integers(0, 14),
        st.sampled_from([0, 1, 60, 7200, (1 << 32) - 1]),
        st.sampled_from([0, 5, 1000, (1 << 32) - 1]),
        st.sampled_from([0, 1, PORT, 65_535]),
        st.sampled_from([OUTSIDE, CARRIER, pcp.NO_ADDRESS]),
        st.booleans(),
    ),
    st.builds(
        lambda result, epoch_s, lifetime_s: natpmp.Response(
            opcode=1,
            result=result,
            epoch_s=epoch_s,
            mapping=None if result else natpmp.Mapping(internal_port=PORT, external_port=PORT, lifetime_s=lifetime_s),
        ).encode(),
        st.integers(0, 6),
        st.sampled_from([0, 5, 1000]),
        st.sampled_from([0, 1, 7200]),
    ),
    st.just(natpmp.Response(opcode=0, result=0, epoch_s=7, address=OUTSIDE).encode()),
)
events = st.one_of(
    st.tuples(st.just("receive"), answers),
    st.tuples(st.just("announced"), answers),
    st.tuples(st.just("wait"), st.floats(0.0, 4000.0)),
    st.tuples(st.just("place"), st.sampled_from([GATEWAY, ipaddress.IPv4Address("10.0.0.1"), None])),
    st.tuples(st.just("unreachable"), st.none()),
    st.tuples(
        st.just("upnp"),
        st.sampled_from(
            [UpnpGranted(external=OUTSIDE, port=4, lifetime_s=60), UpnpLost(), UpnpSilent(), UpnpDeleted()]
        ),
    ),
)


@given(st.lists(events, max_size=30), st.booleans())
def test_whatever_happens_a_port_is_held_only_while_it_lasts_and_requests_are_few(
    happenings: list[tuple[str, object]], upnp: bool
) -> None:
    mapper = PortMapper(PORT, NONCE, MapperConfig(upnp=upnp), Random(3))
    now, sent = 0.0, 0
    for kind, what in happenings:
        match kind:
            case "receive":
                sent += len(mapper.receive(what, now))  # type: ignore[arg-type]
            case "announced":
                sent += len(mapper.announced(what, now))  # type: ignore[arg-type]
            case "place":
                sent += len(mapper.place(what, HOME, now))  # type: ignore[arg-type]
            case "unreachable":
                sent += len(mapper.unreachable(now))
            case "upnp":
                sent += len(mapper.upnp_answered(what, now))  # type: ignore[arg-type]
            case _:
                end = now + what  # type: ignore[operator]
                ticks = 0
                while mapper.next_deadline() <= end:
                    now = max(now, mapper.next_deadline())
                    sent += len(mapper.tick(now))
                    ticks += 1
                    assert ticks <= 1200, "each deadline is later than the one before, and not by little"
                now = end
        assert mapper.stage in {Stage.HELD, Stage.RENEWING, Stage.ASKING} or mapper.held is None
        assert mapper.stage not in {Stage.HELD, Stage.RENEWING} or mapper.held is not None
        assert mapper.stage is Stage.WAITING or mapper.next_deadline() < math.inf
        if mapper.held is not None:
            assert mapper.held.outside[0] == str(OUTSIDE)
    mapper.stop(now)
    for _ in range(10):
        now = min(mapper.next_deadline(), now + 60.0)
        mapper.tick(now)
    assert mapper.ended
    assert mapper.held is None


def test_settings_that_make_no_sense_are_refused() -> None:
    for change in ({"pcp_tries": 0}, {"lifetime_s": 1}, {"check_s": 0.0}):
        with pytest.raises(ValueError, match="must be"):
            msgspec.structs.replace(CONFIG, **change).__post_init__()
