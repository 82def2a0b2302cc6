from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
import trio
import trio.testing

from dhtboot.ids import Address
from mdht.errors import LocalProtocolError
from mdht.link_driver import SEQ_MAX, Faults, LinkDriver
from mdht.signing import SigningKey
from mdht.subnet.effects import Effect, MemberChanged, Multicast, Reincarnated, Unicast
from mdht.subnet.host_keys import host_name
from mdht.subnet.identity import NO_TAG
from mdht.subnet.membership import Membership
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import Bye, Hello, MemberEntry, Message, Ping, Pong, State, View
from mdht.subnet.proofs import Proofs
from mdht.subnet.wire import Header, LinkCodec
from tests.mdht.memory_link import MemoryLink, Wire

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
PING = Ping(nonce=b"noncenon")
HASH = bytes(20)


class Bare(Membership):
    """Who is there, in no subnet."""

    tag = NO_TAG

    def heard_by_group(self, hid: bytes, now: float) -> None:
        self.reach.heard_by_group(hid, now)

    def copies(self, now: float) -> list[Address]:
        return self.reach.copies(now)


class Recorder:
    """A core that writes down what it gets, and answers with what it is told to."""

    def __init__(self, hid: bytes = b"recorder") -> None:
        self.hid = hid
        self.incarnation = 1
        self.tag = NO_TAG
        self.counters: Counter[str] = Counter()
        self.got: list[tuple[Header, Message, Address, bool]] = []
        self.answer: list[Effect] = []
        self.due = float("inf")
        self.ticks: list[float] = []
        self.heard: list[bytes] = []
        self.copied: list[Address] = []

    def receive(
        self, header: Header, message: Message, source: Address, now: float, *, multicast: bool
    ) -> list[Effect]:
        self.got.append((header, message, source, multicast))
        return self.answer

    def heard_by_group(self, hid: bytes, now: float) -> None:
        self.heard.append(hid)

    def copies(self, now: float) -> list[Address]:
        return self.copied

    def tick(self, now: float) -> list[Effect]:
        self.ticks.append(now)
        self.due = float("inf")
        return []

    def next_deadline(self) -> float:
        return self.due

    @property
    def seqs(self) -> list[int]:
        return [header.seq for header, *_ in self.got]


class Scene:
    """Hosts on one wire."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.wire = Wire()
        self.kept: list[int] = []
        self.events: list[MemberChanged] = []
        self.stranger: MemoryLink | None = None

    def drive(
        self,
        core: Any,
        *,
        keys: tuple[bytes, ...] = (),
        signer: SigningKey | None = None,
        copies: int = 1,
        **settings: Any,
    ) -> LinkDriver:
        link = self.wire.link(copies=copies)
        driver = LinkDriver(
            core,
            LinkCodec("test", keys, signer),
            link,
            proofs=None if signer is None else Proofs(),
            keyed=bool(keys),
            **{"keep": self.kept.append, "on_event": self.events.append, **settings},
        )
        self.nursery.start_soon(driver.run, 1.0)
        return driver

    def inject(
        self, seq: int, *, incarnation: int = 1, keys: tuple[bytes, ...] = (), data: bytes | None = None
    ) -> None:
        """Let a stranger multicast."""
        header = Header(subnet_tag=bytes(8), hid=b"stranger", incarnation=incarnation, seq=seq)
        self.stranger = self.stranger or self.wire.link(copies=0)
        self.stranger.multicast(data or LinkCodec("test", keys).encode(header, PING))


def run(main: Callable[[Scene], Awaitable[None]]) -> None:
    async def scene() -> None:
        async with trio.open_nursery() as nursery:
            await main(Scene(nursery))
            nursery.cancel_scope.cancel()

    trio.run(scene, clock=trio.testing.MockClock(autojump_threshold=0))


def test_five_members_see_each_other_and_a_goodbye_and_a_crash() -> None:
    async def main(scene: Scene) -> None:
        cores, drivers, links = [], [], []
        for number in range(5):
            hid = bytes([number]) * 8
            driver = scene.drive(None, copies=2)
            link = scene.wire.links[-1]
            core = Bare(hid, 1, link.addresses, HASH, MembershipConfig(), Random(number))
            driver._core = core
            cores.append(core)
            drivers.append(driver)
            links.append(link)
        now = trio.current_time()
        for core, driver in zip(cores, drivers, strict=True):
            driver.perform(core.start(now))
        await trio.sleep(1.25)
        for core, driver in zip(cores, drivers, strict=True):
            driver.perform(core.become(State.READY, trio.current_time()))
        await trio.sleep(0.75)
        assert all(core.ready_hids() == [bytes([number]) * 8 for number in range(5)] for core in cores)
        drivers[4].perform(cores[4].leave(trio.current_time(), handed_over=True))
        links[3].up = False
        links[3].multicast = lambda data: None  # type: ignore[method-assign]
        links[3].unicast = lambda data, to: None  # type: ignore[method-assign]
        await trio.sleep(4.5)
        for core in cores[:3]:
            states = {member.hid[0]: member.state for member in core.view}
            assert (states[3], states[4]) == (State.DEAD, State.LEFT)
        assert drivers[0].counters["duplicate"] > 0

    run(main)


def test_a_deadline_that_comes_nearer_is_kept() -> None:
    async def main(scene: Scene) -> None:
        core = Recorder()
        core.due = 100.0
        driver = scene.drive(core)
        await trio.sleep(1.0)
        core.due = 5.0
        driver.perform([])
        await trio.sleep(10.0)
        assert core.ticks == [5.0]

    run(main)


def test_what_comes_by_two_families_reaches_the_core_once() -> None:
    async def main(scene: Scene) -> None:
        core = Recorder()
        driver = scene.drive(core, copies=2)
        for seq in (1, 2, 4, 3):
            scene.inject(seq)
        await trio.testing.wait_all_tasks_blocked()
        assert core.seqs == [1, 2, 4, 3]
        assert driver.totals() == {"received": 8, "duplicate": 4}

    run(main)


def test_with_a_key_what_is_old_is_refused_and_without_one_a_made_up_number_silences_nobody() -> None:
    async def main(scene: Scene) -> None:
        keyed, open_core = Recorder(b"keyed..."), Recorder(b"open....")
        driver = scene.drive(keyed, keys=(KEY,))
        scene.drive(open_core)
        for keys in ((KEY,), ()):
            for seq, incarnation in ((1, 1), (100, 1), (1, 1), (36, 1), (37, 1), (5, 2), (101, 1)):
                scene.inject(seq, incarnation=incarnation, keys=keys)
        await trio.testing.wait_all_tasks_blocked()
        assert keyed.seqs == [1, 100, 37, 5]
        assert driver.counters["replayed"] == 3
        assert open_core.seqs == [1, 100, 1, 36, 37, 5, 101]

    run(main)


def test_one_with_another_key_is_not_heard_but_counted() -> None:
    async def main(scene: Scene) -> None:
        core = Recorder()
        driver = scene.drive(core, keys=(KEY, b"f" * 32))
        scene.inject(1, keys=(OTHER_KEY,))
        scene.inject(2)
        scene.inject(3, data=b"what is this")
        scene.inject(4, keys=(b"f" * 32,))  # the former one, while it is being replaced
        scene.inject(5, keys=(KEY,))
        await trio.testing.wait_all_tasks_blocked()
        assert core.seqs == [4, 5]
        assert driver.counters["refused"] == 3

    run(main)


def test_datagrams_of_another_overlay_are_counted_apart() -> None:
    async def main(scene: Scene) -> None:
        core = Recorder()
        driver = scene.drive(core)
        header = Header(subnet_tag=bytes(8), hid=b"stranger", incarnation=1, seq=1)
        scene.inject(1, data=LinkCodec("other").encode(header, PING))
        await trio.testing.wait_all_tasks_blocked()
        assert core.got == []
        assert driver.totals() == {"received": 1, "strange": 1}

    run(main)


def test_a_new_incarnation_is_kept_before_anything_is_sent() -> None:
    async def main(scene: Scene) -> None:
        order: list[Any] = []
        core = Recorder()
        driver = scene.drive(core, keep=order.append)
        link = scene.wire.links[0]
        link.multicast = order.append  # type: ignore[method-assign]
        core.incarnation = 7
        driver.perform([Multicast(PING), Reincarnated(7), Multicast(Bye(handed_over=True))])
        headers = [LinkCodec("test").decode(data)[0] for data in order[1:]]  # type: ignore[index]
        assert order[0] == 7
        assert [(header.incarnation, header.seq) for header in headers] == [(7, 1), (7, 2)]

    run(main)


def test_a_disk_that_does_not_take_the_incarnation_ends_the_driver() -> None:
    def fails(_incarnation: int) -> None:
        raise LocalProtocolError("state directory /x: No space left on device")

    async def main(scene: Scene) -> None:
        core = Recorder()
        core.answer = [Reincarnated(2)]
        scene.drive(core, keep=fails)
        scene.inject(1)
        await trio.sleep(1.0)

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main)
    assert caught.group_contains(LocalProtocolError, match="No space left")


def test_when_the_numbers_run_out_a_new_incarnation_begins() -> None:
    async def main(scene: Scene) -> None:
        core, other = Recorder(), Recorder(b"other...")
        driver = scene.drive(core, keys=(KEY,))
        scene.drive(other, keys=(KEY,))
        driver._seq = SEQ_MAX - 1
        driver.perform([Multicast(PING)] * 3)
        await trio.testing.wait_all_tasks_blocked()
        assert scene.kept == [2]
        numbers = [(header.incarnation, header.seq) for header, *_ in other.got]
        assert numbers == [(1, SEQ_MAX), (2, 1), (2, 2)]

    run(main)


@pytest.mark.parametrize("effect", [Multicast(Ping(nonce=b"short")), Unicast(("192.0.2.2", 4000), Ping(nonce=b""))])
def test_what_cannot_be_encoded_is_counted_and_stops_nothing(effect: Effect) -> None:
    async def main(scene: Scene) -> None:
        core, other = Recorder(), Recorder(b"other...")
        driver = scene.drive(core)
        scene.drive(other)
        driver.perform([effect, Multicast(PING)])
        core.incarnation = 1 << 32
        driver.perform([Multicast(PING)])
        await trio.testing.wait_all_tasks_blocked()
        assert driver.counters["unsendable"] == 2
        assert [message for _, message, *_ in other.got] == [PING]

    run(main)


def test_announcements_name_the_addresses_of_now_unless_they_name_none() -> None:
    async def main(scene: Scene) -> None:
        driver = scene.drive(Recorder())
        other = Recorder(b"other...")
        scene.drive(other)
        link = scene.wire.links[0]
        old = link.addresses
        link.addresses = (("192.0.2.77", 4000),)
        driver.perform([Multicast(Hello(addresses=old, overlay_hash=HASH)), Multicast(Hello(overlay_hash=HASH))])
        await trio.testing.wait_all_tasks_blocked()
        assert [message.addresses for _, message, *_ in other.got] == [link.addresses, ()]  # type: ignore[union-attr]

    run(main)


def test_addresses_that_cannot_be_reached_from_here_do_not_count() -> None:
    near, far = ("192.0.2.9", 4000), ("198.51.100.9", 4000)
    entry = MemberEntry(hid=b"somebody", incarnation=1, state=State.READY, addresses=(far, near), age_s=1)

    async def main(scene: Scene) -> None:
        core = Recorder()
        scene.drive(core)
        for message in (Hello(addresses=(far, near), overlay_hash=HASH), View(epoch=1, members=(entry,))):
            header = Header(subnet_tag=bytes(8), hid=b"stranger", incarnation=1, seq=len(core.got))
            scene.inject(1, data=LinkCodec("test").encode(header, message))
            await trio.testing.wait_all_tasks_blocked()
        (_, hello, *_), (_, view, *_) = core.got
        assert hello.addresses == view.members[0].addresses == (near,)  # type: ignore[union-attr]

    run(main)


def test_an_interface_that_comes_back_is_read_again() -> None:
    async def main(scene: Scene) -> None:
        core = Recorder()
        scene.drive(core)
        link: MemoryLink = scene.wire.links[0]
        scene.inject(1)
        await trio.sleep(0.5)
        link.replug()
        scene.inject(2)
        await trio.sleep(5.0)
        assert core.seqs == [1, 2]
        assert link.looks == [1.0, 2.0, 3.0, 4.0, 5.0]

    run(main)


def test_a_copy_counts_as_multicast_and_reaches_the_core_once() -> None:
    async def main(scene: Scene) -> None:
        sender, both, deaf, other = (Recorder(name) for name in (b"sender..", b"both....", b"deaf....", b"other..."))
        driver = scene.drive(sender)
        twice = scene.drive(both)
        scene.drive(deaf, faults=Faults(ignore_multicast=True))
        scene.drive(other)
        sender.copied = [link.addresses[0] for link in scene.wire.links[1:3]]
        driver.perform([Multicast(PING)])
        await trio.testing.wait_all_tasks_blocked()
        for core, by_group in ((both, True), (deaf, False), (other, True)):
            ((header, message, _source, multicast),) = core.got
            assert (message, header.to_all, multicast) == (PING, True, True)
            assert core.heard == ([b"sender.."] if by_group else [])
        assert twice.counters["duplicate"] == 1
        assert driver.counters["copies"] == 2

    run(main)


def test_multicast_is_noticed_though_its_copy_came_first() -> None:
    async def main(scene: Scene) -> None:
        core = Recorder()
        driver = scene.drive(core)
        header = Header(subnet_tag=bytes(8), hid=b"stranger", incarnation=1, seq=1, to_all=True)
        data = LinkCodec("test").encode(header, PING)
        scene.inject(1, data=data)
        assert scene.stranger is not None
        await trio.testing.wait_all_tasks_blocked()
        scene.stranger.unicast(data, scene.wire.links[0].addresses[0])
        scene.inject(1, data=data)
        await trio.testing.wait_all_tasks_blocked()
        assert (core.seqs, core.heard) == ([1], [b"stranger"] * 2)
        assert driver.counters["duplicate"] == 2

    run(main)


def test_what_is_meant_for_one_is_no_multicast_though_somebody_sends_it_to_the_group() -> None:
    async def main(scene: Scene) -> None:
        core = Recorder()
        scene.drive(core)
        scene.inject(1)
        await trio.testing.wait_all_tasks_blocked()
        assert [multicast for *_, multicast in core.got] == [False]

    run(main)


def test_a_hello_to_one_may_be_meant_for_all() -> None:
    async def main(scene: Scene) -> None:
        core, other = Recorder(), Recorder(b"other...")
        driver = scene.drive(core)
        scene.drive(other)
        hello = Hello(overlay_hash=HASH)
        driver.perform([Unicast(("192.0.2.2", 4000), hello, to_all=True)])
        await trio.testing.wait_all_tasks_blocked()
        assert [(message, multicast) for _, message, _, multicast in other.got] == [(hello, True)]
        assert other.heard == []

    run(main)


def test_a_unicast_says_that_it_is_one() -> None:
    async def main(scene: Scene) -> None:
        core, other = Recorder(), Recorder(b"other...")
        other.answer = [Unicast(("192.0.2.1", 4000), Pong(nonce=b"noncenon"))]
        driver = scene.drive(core)
        scene.drive(other)
        driver.perform([Unicast(("192.0.2.2", 4000), PING)])
        await trio.testing.wait_all_tasks_blocked()
        assert [(message, source, multicast) for _, message, source, multicast in core.got] == [
            (Pong(nonce=b"noncenon"), ("192.0.2.2", 4000), False)
        ]

    run(main)


def test_faults_lose_messages_not_copies_and_the_same_ones_each_time() -> None:
    lost: list[list[int]] = []

    async def main(scene: Scene) -> None:
        core = Recorder()
        driver = scene.drive(core, copies=2, faults=Faults(multicast_loss=0.2, seed=7))
        for seq in range(1000):
            scene.inject(seq)
        await trio.testing.wait_all_tasks_blocked()
        lost.append(sorted(set(range(1000)) - set(core.seqs)))
        assert 150 < len(lost[-1]) < 250
        assert driver.counters["lost_on_purpose"] == 2 * len(lost[-1])

    run(main)
    run(main)
    assert lost[0] == lost[1]


def test_a_host_behind_a_filter_hears_unicasts_only() -> None:
    async def main(scene: Scene) -> None:
        core, other = Recorder(), Recorder(b"other...")
        scene.drive(core, faults=Faults(ignore_multicast=True))
        driver = scene.drive(other)
        driver.perform([Multicast(PING), Unicast(("192.0.2.1", 4000), PING)])
        await trio.testing.wait_all_tasks_blocked()
        assert [multicast for *_, multicast in core.got] == [False]

    run(main)


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 1"):
        Faults(multicast_loss=1.5)


OWN, LIAR = SigningKey.from_seed(b"o" * 32), SigningKey.from_seed(b"l" * 32)
BYE = Bye(handed_over=True)


def test_where_hosts_sign_nothing_unsigned_ends_a_host_and_one_line_for_each_source_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(scene: Scene) -> None:
        core, other = Recorder(host_name(LIAR.public_key)), Recorder(host_name(OWN.public_key))
        driver = scene.drive(core, signer=LIAR)
        victim = scene.drive(other, signer=OWN)
        victim.perform([Multicast(BYE), Multicast(PING)])
        stranger = scene.wire.link(copies=0)
        for seq in range(10, 13):
            header = Header(subnet_tag=bytes(8), hid=other.hid, incarnation=1, seq=seq, to_all=True)
            for codec in (LinkCodec("test"), LinkCodec("test", (), LIAR)):
                stranger.multicast(codec.encode(header, BYE))
        await trio.testing.wait_all_tasks_blocked()
        assert [(header.seq, message) for header, message, *_ in core.got] == [(1, BYE), (2, PING)]
        assert core.heard == [other.hid], "nobody is heard by multicast by what others say"
        assert driver.totals()["unsigned"] == 3
        assert driver.totals()["forged"] == 3
        assert driver.totals()["signatures_verified"] == 1

    run(main)
    # At the victim none: what comes in its own name is for the core to count.
    (line,) = [one.getMessage() for one in caplog.records]
    assert line == (
        f"host {host_name(OWN.public_key).hex()} at 192.0.2.3 does not sign what it says, and this host does: "
        "neither is a member for the other; start all hosts of the link with --host-keys, or all without"
    )


def test_what_is_signed_is_not_heard_where_hosts_do_not_sign_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(scene: Scene) -> None:
        core, other = Recorder(), Recorder(host_name(OWN.public_key))
        driver = scene.drive(core)
        signing = scene.drive(other, signer=OWN)
        signing.perform([Multicast(BYE), Multicast(BYE)])
        await trio.testing.wait_all_tasks_blocked()
        assert core.got == []
        assert driver.totals() == {"received": 2, "signed": 2}

    run(main)
    (line,) = [one.getMessage() for one in caplog.records]
    assert line.endswith(
        "at 192.0.2.2 signs what it says, and this host does not: neither is a member for the other; "
        "start all hosts of the link with --host-keys, or all without"
    )


def test_whoever_only_listens_and_does_not_sign_is_no_matter_for_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def main(scene: Scene) -> None:
        core = Recorder(host_name(OWN.public_key))
        driver = scene.drive(core, signer=OWN)
        header = Header(subnet_tag=bytes(8), hid=b"stranger", incarnation=1, seq=1)
        scene.inject(1, data=LinkCodec("test").encode(header, Hello(overlay_hash=HASH)))
        await trio.testing.wait_all_tasks_blocked()
        assert (core.got, driver.counters["unsigned"]) == ([], 1)

    run(main)
    assert not caplog.records
