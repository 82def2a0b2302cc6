"""Modules that are servers: sockets, connections, blocks, and both threads at once."""

import socket
import urllib.request
from pathlib import Path

import pytest

from netserv.container import datagrams, frames
from netserv.container.datagrams import Datagram
from netserv.container.messages import Connect, Connected, Failed, Log
from netserv.forwarding.ring import ACCEPT, DROP
from netserv.modules.packets import UDP
from netserv.modules.templates import new_module
from tests.netserv.container.runtime.boxes import Box, duplicate, listening, until
from tests.netserv.container.runtime.test_main import HEAD, PACKET
from tests.netserv.modules.test_packets import FOUR, packet_bytes

HTTP = """
from netserv.modules.api import *
from netserv.modules.blocks.http_server import *

class M(Activator):
    async def start(self, context):
        self.count = 0
        server = HttpServer(context)
        server.route("GET", "/")(self.page)
        server.route("GET", "/fail")(self.fail)
        server.serve(context.listen())

    async def page(self, request):
        return Response.text(f"{self.count} {request.peer} {request.query}")

    async def fail(self, request):
        1 / 0

    def process(self, packet):
        self.count += 1
        return DROP
"""


def fetched(port: int, path: str = "/") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return answer.read().decode()


def test_a_module_may_be_server_and_packet_module_at_once(box: Box) -> None:
    opened, port = listening()
    with opened:
        box.attach()
        box.load(1, {"main.py": HTTP}, kind="both", filters=(1,), sockets={("tcp", port): duplicate(opened)})
        box.loaded(1)
        assert box.answers(PACKET, PACKET) == [(DROP, b"")] * 2
        assert fetched(port, "/?a=b") == "2 127.0.0.1 {'a': 'b'}"
        with pytest.raises(urllib.error.HTTPError, match="500"):
            fetched(port, "/fail")
        assert "ZeroDivisionError" in box.hear(Failed).text
        box.unload(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


@pytest.mark.parametrize("kind", ["server", "packet", "both"])
def test_a_new_module_of_the_command_runs(box: Box, kind: str) -> None:
    opened, port = listening()
    with opened:
        files = {name: data.decode() for name, data in new_module("com.example.Hello", kind).items()}  # type: ignore[arg-type]
        sockets = {} if kind == "packet" else {("tcp", port): duplicate(opened)}
        box.attach()
        box.load(1, files, kind=kind, entry="hello:Hello", filters=(1,) * (kind != "server"), sockets=sockets)
        box.loaded(1)
        if kind != "server":
            assert box.answers(PACKET) == [(ACCEPT, b"")]
        if kind != "packet":
            assert fetched(port) == ("hello, 127.0.0.1\n" if kind == "server" else '{"10.1.0.1": 1}')
        if kind == "packet":
            box.metrics_until(packets=1.0)
        box.unload(1)


def test_a_datagram_socket_is_handed_out_once(box: Box) -> None:
    node, inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    port = 5060
    with node, inside:
        inside.setblocking(False)
        text = f"""
        from netserv.modules.api import *
        class M(Activator):
            async def start(self, context):
                context.spawn(self.echo, context.listen({port}, "udp"))
                try:
                    context.listen({port}, "udp")
                except Exception as error:
                    context.log.info("%s", error)
            async def echo(self, opened):
                while True:
                    data, sender = await opened.recvfrom(100)
                    await opened.sendto(data[::-1], sender)
        """
        box.load(1, {"main.py": text}, kind="server", sockets={("udp", port): duplicate(inside)})
        box.loaded(1)
        assert f"no udp port {port} to listen on: granted are udp {port}, each once" in box.hear(Log).text
        node.settimeout(20)
        node.send(datagrams.encode(Datagram("192.0.2.7", 4000, b"abc")))
        assert datagrams.decode(node.recv(datagrams.PACKET_MAX)) == ("192.0.2.7", 4000, b"cba")
        box.unload(1)


CONNECTING = (
    HEAD
    + """
class M(A):
    async def start(self, context):
        self.context = context
        context.spawn(self.ask)
    async def ask(self):
        from netserv.errors import NetservError
        for port in (80, 81, 0):
            try:
                answer = await self.context.http.get(f"http://example.org:{port}/x?y")
                self.context.log.info("%d %s", answer.status, answer.body)
            except NetservError as error:
                self.context.log.info("%s: %s", type(error).__name__, error)
"""
)


def test_the_node_makes_connections(box: Box) -> None:
    box.load(1, {"main.py": CONNECTING}, kind="server")
    box.loaded(1)
    asked = box.hear(Connect)
    assert (asked.module, asked.host, asked.port) == (1, "example.org", 80)
    here, there = socket.socketpair()
    box.say(Connected(asked.number), there.fileno())
    there.close()
    with here:
        here.settimeout(20)
        assert here.recv(1_000).startswith(b"GET /x?y HTTP/1.1\r\nhost: example.org:80\r\n")
        here.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        assert box.hear(Log).text == "200 b'hi'"
    asked = box.hear(Connect)
    box.say(Connected(asked.number, "not allowed by the operator"))
    assert box.hear(Log).text == "UnreachableError: example.org port 81: not allowed by the operator"
    box.unload(1)


def test_a_connection_that_nobody_waits_for_any_more_is_closed(box: Box) -> None:
    box.load(1, {"main.py": CONNECTING}, kind="server")
    box.loaded(1)
    asked = box.hear(Connect)
    box.unload(1)
    here, there = socket.socketpair()
    box.say(Connected(asked.number), there.fileno())
    there.close()
    here.settimeout(20)
    assert here.recv(1) == b""
    here.close()


def test_a_task_that_fails_is_a_strike_and_others_go_on(box: Box) -> None:
    text = """
    async def start(self, context):
        self.context = context
        context.spawn(self.fail)
        context.every(0.01, self.tick)
        context.every(0.01, self.bad)
        context.after(0.05, self.once)
    async def fail(self):
        import trio
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.bad)
            await trio.sleep_forever()
    async def bad(self): raise ValueError("bad")
    async def tick(self): pass
    async def once(self): self.context.log.info("once")
    """
    box.run(1, HEAD + "class M(A):" + text, kind="server")
    assert box.hear(Log).text == "once"
    wheres = {box.hear(Failed).where for _ in range(3)}
    assert wheres <= {"server", "timer"}
    box.unload(1)


def test_an_asynchronous_start_that_hangs_is_unloaded(box: Box) -> None:
    text = "async def start(self, context): import trio; await trio.sleep_forever()"
    box.load(1, {"main.py": f"{HEAD}class M(A):\n    {text}"}, kind="server")
    box.unload(1)


def test_packets_are_sent_from_the_server_thread(box: Box) -> None:
    box.attach()
    text = """
    async def start(self, context): context.spawn(self.send, context)
    async def send(self, context): assert context.inject(bytes.fromhex("45") + bytes(27))
    def process(self, packet): return ACCEPT
    """
    box.run(1, HEAD + "class M(A):" + text, kind="both", filters=(4,))
    (answer,) = box.collected(1)
    assert (answer.token, answer.number, bytes(answer.data)) == (None, 4, b"\x45" + bytes(27))


def test_both_threads_use_the_storage(box: Box) -> None:
    text = """
    async def start(self, context):
        from netserv.modules.blocks.storage import KeyValue
        self.kept = KeyValue(context.storage / "state.db")
        context.spawn(self.write)
    async def write(self):
        for number in range(20): self.kept.put(f"s{number}", b"x")
    def process(self, packet):
        self.kept.put("p", packet.payload.tobytes())
        return ACCEPT
    async def stop(self): self.kept.close()
    """
    box.attach()
    box.run(1, HEAD + "class M(A):" + text, kind="both", filters=(1,), name="com.example.Kept")
    assert box.answers(PACKET) == [(ACCEPT, b"")]
    box.unload(1)
    assert not [message for message in box.heard if isinstance(message, Failed)]
    assert Path("storage/com.example.Kept/state.db").stat().st_size > 0


def test_packets_are_answered_beside_a_busy_server(box: Box) -> None:
    text = """
    async def start(self, context): context.spawn(self.spin)
    async def spin(self):
        import trio
        while True:
            sum(range(100_000))
            await trio.lowlevel.checkpoint()
    def process(self, packet): return DROP
    """
    box.attach()
    box.run(1, HEAD + "class M(A):" + text, kind="both", filters=(1,))
    for _ in range(20):
        assert box.answers(packet_bytes(FOUR, UDP, b"x")) == [(DROP, b"")]
    box.unload(1)


def test_frames_that_the_node_does_not_read_wait(box: Box) -> None:
    text = """
    def start(self, context):
        self.context = context
        for number in range(3):
            context.services.register("x", number)
    def process(self, packet):
        for number in range(150): self.context.log.info("%s", "x" * 4_000)
        return ACCEPT
    """
    box.attach()
    box.run(1, HEAD + "class M(A):" + text, filters=(1,))
    assert box.answers(PACKET) == [(ACCEPT, b"")], "nothing waits for the node"
    lines = 0

    def heard_all() -> bool:
        nonlocal lines
        lines += isinstance(frames.receive_from_container(box.node), Log)
        return lines == 150

    until(heard_all)
