"""Any order of events: tables stay bounded and true to each other, and no reliable message is lost in silence."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from netserv.signaling.gist.config import NSLP_NETSERV, GistConfig
from netserv.signaling.gist.service import RoutingStatus, TransferAttributes
from tests.netserv.signaling.gist.recorder import SECURE, flow, message
from tests.netserv.signaling.gist.world import World, line

FLOWS = [flow("10.0.0.1", "10.0.9.1"), flow("10.0.0.1", "10.0.9.1", port=81)]
SIDS = [b"S" * 16, b"T" * 16]
CONFIG = GistConfig(
    sessions_max=3,
    queue_max=4,
    queue_bytes_max=200,
    associations_max=3,
    offer_secure=True,
    secure_port=271,
    datagrams_per_s=50.0,
)


class Path(RuleBasedStateMachine):
    """Three nodes of which everything may be asked, on links to which everything may happen."""

    @initialize(seed=st.integers(0, 1 << 30))
    def begin(self, seed):
        self.world = World(seed)
        self.sent: dict[str, list[int]] = {}
        self.nodes = [self.world.host(name, f"10.0.{n}.1", config=CONFIG) for n, name in enumerate("abc")]
        self.receiver = self.world.host("r", "10.0.9.1", gist=False)
        a, b, c = self.nodes
        for one, other in ((a, b), (b, self.receiver), (a, c), (c, self.receiver)):
            self.world.link(one, other)
        self.count = 0

    @rule(
        who=st.integers(0, 2),
        which=st.sampled_from(FLOWS),
        sid=st.sampled_from(SIDS),
        up=st.booleans(),
        how=st.sampled_from([TransferAttributes(), TransferAttributes(reliable=True), SECURE]),
        timeout_s=st.sampled_from([None, 1.0]),
        size=st.sampled_from([8, 600]),
    )
    def send(self, who, which, sid, up, how, timeout_s, size):
        host = self.nodes[who]
        if host.node is None:
            return
        self.count += 1
        data = b"%08d" % self.count + bytes(size - 8)
        if how.reliable and host.name == "a":
            self.sent.setdefault(host.name, []).append(self.count)
        mri = which.inverted() if up else which
        host.send(message(mri, data, sid=sid, handle=self.count, attributes=how, timeout_s=timeout_s))

    @rule(for_s=st.sampled_from([0.001, 0.003, 0.1, 1.0, 7.0, 20.0]))
    def run(self, for_s):
        self.world.run(for_s)

    @rule(
        which=st.integers(0, 3), up=st.booleans(), loss=st.sampled_from([0.0, 0.5]), twice=st.sampled_from([0.0, 0.5])
    )
    def change_link(self, which, up, loss, twice):
        link = self.world.links[which]
        link.up, link.loss, link.duplication = up, loss, twice

    @rule(who=st.integers(1, 2))
    def restart(self, who):
        host = self.nodes[who]
        host.kill()
        host.start()

    @rule(who=st.integers(0, 2), which=st.integers(0, 3))
    def break_connection(self, who, which):
        numbers = list(self.nodes[who].connections)
        if which < len(numbers):
            self.world.cut_both(self.nodes[who], numbers[which])

    @rule(
        who=st.integers(0, 2),
        which=st.sampled_from(FLOWS),
        lifetime_s=st.sampled_from([0.0, 5.0, 1e6]),
        sid=st.sampled_from([None, *SIDS]),
        up=st.booleans(),
    )
    def set_lifetime(self, who, which, lifetime_s, sid, up):
        host = self.nodes[who]
        mri = which.inverted() if up else which
        host.perform(host.node.set_state_lifetime(NSLP_NETSERV, mri, sid, lifetime_s, self.world.now))

    @rule(
        who=st.integers(0, 2),
        which=st.sampled_from(FLOWS),
        status=st.sampled_from([RoutingStatus.BAD, RoutingStatus.TENTATIVE]),
        urgent=st.booleans(),
    )
    def invalidate(self, who, which, status, urgent):
        host = self.nodes[who]
        effects = host.node.invalidate_routing_state(None, which, status, urgent=urgent, now=self.world.now)
        host.perform(effects)

    @invariant()
    def tables_are_bounded_and_true(self):
        for host in getattr(self, "nodes", ()):
            commons, associations = host.node._commons, host.node._associations
            rows = list(commons.table)
            assert len(rows) == len(commons.table) <= CONFIG.sessions_max
            assert commons.queued_bytes == sum(
                len(waiting.data) for row in rows for waiting, _ in row.queue or ()
            ) + sum(one.backlog_bytes for one in associations.all())
            assert all(len(row.queue or ()) <= CONFIG.queue_max for row in rows)
            held = [row.peer for row in rows if row.peer is not None]
            assert sum(peer.rows for peer in commons.peers.all()) == len(held)
            assert len(associations.all()) <= CONFIG.associations_max
            for one in associations.all():
                assert all(row.association is one for row in one.rows)
                assert one.probe_covers <= len(one.under_way)
            for row in rows:
                assert commons.table.get(row.flow, row.sid, row.nslp_id) is row
                assert row.association is None or row in row.association.rows
                assert row.wake_at < float("inf")
            assert host.node.counters.out_of_turn == 0

    def teardown(self):
        if not hasattr(self, "world"):
            return
        for link in self.world.links:
            link.up, link.loss, link.duplication = True, 0.0, 0.0
        self.world.run(300.0)
        sender = self.nodes[0]
        reliable = [one for host in self.nodes[1:] for one in host.nslp.received if one.attributes.reliable]
        arrived = [int(one.data[:8]) for one in reliable]
        failed = {status.handle for status in sender.nslp.failures()}
        assert len(arrived) == len(set(arrived))
        lost = set(self.sent.get("a", ())) - set(arrived) - failed
        assert not lost, lost


Path.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestPath = Path.TestCase


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["down", "up", "tentative", "bad"]),
            st.sampled_from([TransferAttributes(), TransferAttributes(reliable=True), SECURE]),
            st.sampled_from([8, 600]),
            st.sampled_from([0.0, 0.0005, 0.0025, 0.1, 2.0, 25.0]),
        ),
        max_size=25,
    )
)
def test_in_a_healthy_network_every_message_arrives_once_as_it_wants_to(steps):
    # Longer than all pauses together: a session without messages ends, and what comes late has no way.
    world, sender, second, _ = line(config=GistConfig(offer_secure=True, secure_port=271, inactive_s=1_000.0))
    sent = {"down": [], "up": []}
    sender.send(message(FLOWS[0], b"%08d" % 0, attributes=TransferAttributes(reliable=True)))
    world.run(0.5)
    for number, (what, wish, size, pause_s) in enumerate(steps, 1):
        if what in sent:
            mri = FLOWS[0] if what == "down" else FLOWS[0].inverted()
            # Connections are made from the other end.
            how = TransferAttributes(reliable=True) if what == "up" and wish.secure else wish
            data = b"%08d" % number + bytes(size - 8)
            (sender if what == "down" else second).send(message(mri, data, handle=number, attributes=how))
            sent[what].append((number, how))
        else:
            effects = sender.node.invalidate_routing_state(
                None, FLOWS[0], RoutingStatus(what), urgent=True, now=world.now
            )
            sender.perform(effects)
        world.run(pause_s)
    world.run(10.0)
    for host, wanted in ((second, [(0, TransferAttributes(reliable=True)), *sent["down"]]), (sender, sent["up"])):
        arrived = [int(one.data[:8]) for one in host.nslp.received]
        assert arrived == [number for number, _ in wanted]
        for one, (_, how) in zip(host.nslp.received, wanted, strict=True):
            assert one.attributes.reliable >= how.reliable
            assert one.attributes.secure >= how.secure
    assert not sender.nslp.failures()
    assert not second.nslp.failures()
