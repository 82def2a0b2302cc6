import pytest
import trio
import trio.testing

from tests.z2z.mdns.memory_link import item, registration
from z2z.errors import LinkError
from z2z.mdns.link_io import open_link
from z2z.mdns.mailbox import BUFFER, Mailbox, latest, merge_service_events
from z2z.mdns.messages import ServiceChanged, ServiceEvent, ServiceFound, ServiceLost, ServiceRefused
from z2z.mdns.responder_config import ResponderConfig
from z2z.mdns.sockets import LinkSockets, interface_state

pytestmark = pytest.mark.loopback

OLD, NEW = item(port=1), item(port=2)
LOST = ServiceLost(service_type="_daap._tcp", instance=OLD.instance)
REFUSED = ServiceRefused(service_type="_daap._tcp", instance=OLD.instance, reason="port 0")


def test_interface_that_does_not_exist_is_one_clear_line() -> None:
    async def main() -> None:
        with pytest.raises(LinkError, match=r"^interface 'nowhere0' does not exist; this machine has .*lo"):
            async with open_link("nowhere0"):
                pass

    trio.run(main)


def test_the_user_is_told_that_the_multicast_budget_is_used_up(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with open_link("lo", config=ResponderConfig(packets_per_minute=600, burst=1)) as link:
            for number in range(60):
                link.register(registration(f"Service {number}", host=b"z2z-%d" % number))
            while "multicast packets a minute is used up" not in caplog.text:  # noqa: ASYNC110 - a line, not an event
                await trio.sleep(0.1)
            assert link.stats().budget_delays

    trio.run(main)
    assert "link lo: the budget of 600 multicast packets" in caplog.text


def test_addresses_of_the_link_are_told_from_others() -> None:
    state = interface_state("lo")
    assert state is not None
    sockets = LinkSockets("lo", state)
    try:
        sockets.look()
        assert sockets.is_on_link("127.0.0.7")
        assert not sockets.is_on_link("203.0.113.7")
        assert not sockets.is_on_link("fe80::1%lo")
        sockets.unicast(b"", "203.0.113.7", 5353)
        assert (sockets.sent, sockets.unsent) == (0, 1)
    finally:
        sockets.close()


@pytest.mark.parametrize(
    ("waiting", "new", "merged"),
    [
        (ServiceFound(OLD), ServiceChanged(NEW), ServiceFound(NEW)),
        (ServiceFound(OLD), LOST, None),
        (ServiceChanged(OLD), LOST, LOST),
        (ServiceChanged(OLD), ServiceChanged(NEW), ServiceChanged(NEW)),
        (LOST, ServiceFound(NEW), ServiceChanged(NEW)),
        (REFUSED, REFUSED, REFUSED),
    ],
)
def test_events_merge_to_the_same_picture(
    waiting: ServiceEvent, new: ServiceEvent, merged: ServiceEvent | None
) -> None:
    assert merge_service_events(waiting, new) == merged


def test_slow_reader_gets_the_last_state_of_everything() -> None:
    async def main() -> None:
        mailbox = Mailbox[int](latest)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mailbox.run)
            for value in range(10):
                for key in range(100):
                    mailbox.put(key, key * 10 + value)
                await trio.testing.wait_all_tasks_blocked()
            state: dict[int, int] = {}
            count = 0
            while len(state) < 100 or any(value % 10 != 9 for value in state.values()):
                value = await mailbox.channel.receive()
                state[value // 10] = value
                count += 1
            assert count <= 100 + BUFFER + 1
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=5))


def test_what_came_and_went_unseen_is_not_told() -> None:
    async def main() -> None:
        mailbox = Mailbox[ServiceEvent](merge_service_events)
        mailbox.put("a", ServiceFound(OLD))
        mailbox.put("a", LOST)
        mailbox.put("b", ServiceFound(NEW))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mailbox.run)
            assert await mailbox.channel.receive() == ServiceFound(NEW)
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_mailbox_ends_with_its_reader() -> None:
    async def main() -> None:
        mailbox = Mailbox[int](latest)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mailbox.run)
            mailbox.channel.close()
            mailbox.put(1, 1)

    trio.run(main)
