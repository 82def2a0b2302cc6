"""The runtime as the node sees it: frames and packets in, frames and verdicts out."""

import importlib.util
import os
import py_compile
import sys
import threading
from pathlib import Path

import pytest

from netserv.container.messages import Failed, Loaded, Log, Ping, Pong, Unload, Unloaded
from netserv.container.runtime.dispatcher import FAILED
from netserv.container.runtime.main import SWITCH_S
from netserv.forwarding.ring import (
    ACCEPT,
    ACCEPT_FLOW,
    CHANGED,
    COUNT_FLOW,
    COUNTS,
    DROP,
    FLOW,
    INJECT,
    BoxEnd,
    PythonBoxEnd,
)
from netserv.modules.packets import UDP
from tests.netserv.container.runtime.boxes import Box, until
from tests.netserv.modules.test_packets import FOUR, SIX, packet_bytes

ENDS = sorted({BoxEnd, PythonBoxEnd}, key=lambda end: end.__module__)
PACKET = packet_bytes(FOUR, UDP, b"NOTIFY sip:x")
HEAD = "from netserv.modules.api import *\nfrom netserv.modules.api import Activator as A\n"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "box" in metafunc.fixturenames:
        metafunc.parametrize("box", ENDS, indirect=True, ids=[end.__module__.rpartition(".")[2] for end in ENDS])


def module(body: str) -> str:
    indented = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return f"{HEAD}\nclass M(A):\n{indented}"


def test_the_container_says_that_it_lives(box: Box) -> None:
    box.say(Ping(7))
    assert box.hear(Pong) == Pong(7)


def test_packets_get_the_verdict_of_their_module(box: Box) -> None:
    box.attach()
    box.run(1, module("def process(self, packet): return DROP if packet.dport == 6000 else ACCEPT"), filters=(1,))
    other = packet_bytes(FOUR, UDP, b"", (5060, 6001))
    assert box.answers(PACKET, other, PACKET) == [(DROP, b""), (ACCEPT, b""), (DROP, b"")]


def test_a_ring_that_comes_after_the_module_serves_it_too(box: Box) -> None:
    box.run(1, module("def process(self, packet): return DROP"), filters=(1,))
    box.attach()
    assert box.answers(PACKET) == [(DROP, b"")]


def test_packets_of_no_module_are_for_the_policy(box: Box) -> None:
    box.attach()
    assert box.answers(PACKET, number=9) == [(FAILED, b"")]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("ACCEPT_FLOW", (ACCEPT_FLOW, b"")),
        ("COUNT_FLOW", (COUNT_FLOW, b"")),
        ("packet.replaced(b'other')", (CHANGED, packet_bytes(FOUR, UDP, b"other"))),
        ("packet.replaced(b'longer' * 9)", (CHANGED, packet_bytes(FOUR, UDP, b"longer" * 9))),
        ("bytes(packet.raw)", (CHANGED, PACKET)),
        ("bytearray(packet.raw)", (CHANGED, PACKET)),
        ("memoryview(bytes(packet.raw))", (CHANGED, PACKET)),
        ("packet", (CHANGED, PACKET)),
        ("packet.raw[:20]", (CHANGED, PACKET[:20])),
    ],
)
def test_other_answers(box: Box, said: str, expected: tuple[int, bytes]) -> None:
    box.attach()
    box.run(1, module(f"def process(self, packet): return {said}"), filters=(1,))
    assert box.answers(PACKET) == [expected]


def test_a_packet_may_be_changed_in_place(box: Box) -> None:
    box.attach()
    text = """
    def process(self, packet):
        packet.payload[:6] = b"SILENT"
        packet.refresh()
        return CHANGED
    """
    box.run(1, HEAD + "class M(A):\n" + text, filters=(1,))
    assert box.answers(PACKET) == [(CHANGED, packet_bytes(FOUR, UDP, b"SILENT sip:x"))]


KEPT = """
kept = []
def sizes(self, packet):
    self.kept.append(packet)
    return packet.replaced(b" ".join(b"%d" % len(each) for each in self.kept))
"""


@pytest.mark.parametrize(
    "function",
    [
        "def process(self, packet): return self.sizes(packet)",
        "def process_batch(self, packets): return [self.sizes(packet) for packet in packets]",
    ],
    ids=["process", "process_batch"],
)
def test_a_packet_that_a_module_keeps_does_not_become_another_one(box: Box, function: str) -> None:
    box.attach()
    box.run(1, module(KEPT + function), filters=(1,))
    for size in (b"30", b"30 31", b"30 31 32"):
        ((verdict, answer),) = box.answers(packet_bytes(FOUR, UDP, b"x" * (int(size[-2:]) - 28)))
        assert (verdict, answer[28:]) == (CHANGED, size)


def test_what_was_found_in_a_packet_is_not_taken_for_that_of_the_next(box: Box) -> None:
    box.attach()
    body = "def process(self, packet): return packet.reply(b'%d %d' % (packet.dport, len(packet.payload)))"
    box.run(1, module(body), filters=(1,))
    for ends, payload, port in ((FOUR, b"four", 6001), (SIX, b"six", 6002), (FOUR, b"", 6003), (SIX, b"VI", 6004)):
        ((verdict, answer),) = box.answers(packet_bytes(ends, UDP, payload, (5060, port)))
        assert verdict == CHANGED
        assert answer.endswith(b"%d %d" % (port, len(payload)))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return None", "process returned NoneType"),
        ("return 1", "process returned int"),
        ("return 'ACCEPT'", "process returned str"),
        ("return b''", "a packet of 0 bytes; 20 to 2048 are possible"),
        ("return bytes(70_000)", "a packet of 70000 bytes"),
        ("return memoryview(bytes(80))[::2]", "memoryview"),
        ("raise ValueError('my mistake')", "my mistake"),
        ("raise SystemExit", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import os; os.kill", "process returned NoneType"),
        ("return self.process(packet)", "RecursionError"),
        ("raise ValueError('\\ud800')", "\\ud800"),
        ("raise type('E', (Exception,), {'__str__': lambda self: exit()})", "E"),
        ("raise type('E', (Exception,), {'__cause__': property(lambda self: exit())})", "whose text cannot be had"),
    ],
)
def test_a_module_that_fails_leaves_the_packet_to_its_policy(box: Box, body: str, why: str) -> None:
    box.attach()
    box.run(1, module(f"def process(self, packet): {body}"), filters=(1,))
    box.run(2, module("def process(self, packet): return DROP"), filters=(2,))
    assert box.answers(PACKET) == [(FAILED, b"")]
    failed = box.hear(Failed)
    assert (failed.module, failed.where) == (1, "process")
    assert why in failed.text
    assert box.answers(PACKET, number=2) == [(DROP, b"")]


def test_failures_are_told_a_few_times_a_second(box: Box) -> None:
    box.attach()
    box.run(1, module("def process(self, packet): raise ValueError"), filters=(1,))
    for _ in range(4):
        box.answers(*[PACKET] * 50)
    box.say(Ping(1))
    box.hear(Pong)
    assert 10 <= sum(isinstance(message, Failed) for message in box.heard) <= 100


def test_batches_go_to_the_function_for_them(box: Box) -> None:
    box.attach()
    text = """
    batch_least = 3
    def process(self, packet): return ACCEPT
    def process_batch(self, packets):
        return [DROP if packet.dport == 6000 else packet.replaced(b"x") for packet in packets]
    """
    box.run(1, HEAD + "class M(A):\n" + text, filters=(1,))
    assert box.answers(PACKET) == [(ACCEPT, b"")]
    other = packet_bytes(FOUR, UDP, b"", (5060, 6001))
    changed = packet_bytes(FOUR, UDP, b"x", (5060, 6001))
    assert box.answers(PACKET, other, PACKET) == [(DROP, b""), (CHANGED, changed), (DROP, b"")]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("DROP", [(DROP, b"")] * 2),
        ("[ACCEPT, DROP]", [(ACCEPT, b""), (DROP, b"")]),
        ("(ACCEPT, 'x')", [(ACCEPT, b""), (FAILED, b"")]),
        ("[ACCEPT]", [(FAILED, b"")] * 2),
        ("iter([ACCEPT, ACCEPT])", [(FAILED, b"")] * 2),
        ("None", [(FAILED, b"")] * 2),
        ("1 / 0", [(FAILED, b"")] * 2),
    ],
)
def test_answers_of_a_batch(box: Box, said: str, expected: list[tuple[int, bytes]]) -> None:
    box.attach()
    box.run(1, module(f"def process_batch(self, packets): return {said}"), filters=(1,))
    assert box.answers(PACKET, PACKET) == expected
    if (FAILED, b"") in expected:
        assert box.hear(Failed).where == "process"


def test_modules_treat_a_packet_in_turn(box: Box) -> None:
    box.attach()
    box.run(1, module("def process(self, packet): return packet.replaced(bytes(packet.payload) + b'1')"), filters=(5,))
    box.run(2, module("def process_batch(self, p): return [p[0].replaced(bytes(p[0].payload) + b'2')]"), filters=(5, 6))
    box.run(3, module("def process(self, packet): return ACCEPT_FLOW"), filters=(5, 6))
    assert box.answers(PACKET, number=5) == [(CHANGED, packet_bytes(FOUR, UDP, b"NOTIFY sip:x12"))]
    box.unload(1)
    assert box.answers(PACKET, number=5) == [(CHANGED, packet_bytes(FOUR, UDP, b"NOTIFY sip:x2"))]
    box.unload(2)
    assert box.answers(PACKET, number=5) == [(ACCEPT_FLOW, b"")]
    box.run(4, module("def process(self, packet): return ACCEPT"), filters=(5,))
    assert box.answers(PACKET, number=5) == [(ACCEPT, b"")]
    box.run(6, module("def process(self, packet): 1 / 0"), filters=(5,))
    assert box.answers(PACKET, number=5) == [(FAILED, b"")]
    box.run(7, module("def process(self, packet): return DROP"), filters=(5,))
    assert box.answers(PACKET, number=5) == [(DROP, b"")], "one that drops is heard where another has failed"


def counts(packets: int) -> bytes:
    ends = [bytes([192, 0, 2, each]).ljust(16, b"\0") for each in (1, 2)]
    return FLOW.pack(4, 17, (5060).to_bytes(2), (6000).to_bytes(2), 61, *ends, packets, 29 * packets)


COUNTING = """
def start(self, context): self.log = context.log
def process(self, packet): return COUNT_FLOW
def counted(self, flows):
    for flow in flows:
        if flow.packets == 13: raise ValueError("thirteen")
        self.log.info("%s", tuple(flow))
def stop(self): self.log.info("stopped")
"""


def test_a_module_is_told_what_the_kernel_has_counted_and_the_rest_before_it_stops(box: Box) -> None:
    box.attach()
    box.run(1, module(COUNTING), filters=(1,))
    assert box.answers(counts(3) + counts(4), number=1 | COUNTS) == [(ACCEPT, b"")]
    told = [box.log_until("(").text for _ in range(2)]
    ends = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])
    assert told == [str((*ends, 5060, 6000, 17, 61, each, 29 * each)) for each in (3, 4)]
    assert box.answers(counts(13), number=1 | COUNTS) == [(ACCEPT, b"")]
    assert "thirteen" in box.hear(Failed).text
    assert box.answers(counts(5), number=2 | COUNTS) == [(ACCEPT, b"")], "of a filter that nobody has any more"
    assert box.broker is not None
    assert box.broker.post(counts(6), 1 | COUNTS, 1) is not None
    box.unload(1)
    assert [box.hear(Log).text[-8:] for _ in range(2)] == [" 6, 174)", "stopped"]


def test_packets_of_several_filters_in_one_batch(box: Box) -> None:
    box.attach()
    box.run(1, module("def process(self, packet): return ACCEPT"), filters=(1, 3))
    box.run(2, module("def process(self, packet): return DROP"), filters=(2,))
    assert box.broker is not None
    for token, number in enumerate([1, 1, 2, 3, 9, 2], 1):
        box.broker.post(PACKET, number, token)
    box.broker.wake()
    found = {answer.token: answer.verdict for answer in box.collected(6)}
    assert found == {1: ACCEPT, 2: ACCEPT, 3: DROP, 4: ACCEPT, 5: FAILED, 6: DROP}


@pytest.mark.parametrize(
    ("files", "more", "where", "why"),
    [
        ({"main.py": "class M(:"}, {}, "load", "SyntaxError"),
        ({"main.py": "import nothing_of_that_name"}, {}, "load", "No module named 'nothing_of_that_name'"),
        ({"main.py": "raise SystemExit"}, {}, "load", "SystemExit"),
        ({"main.py": ""}, {}, "load", "main has no M"),
        ({"other.py": ""}, {}, "load", "the module has no main"),
        ({"main.py": ""}, {"entry": "json:loads"}, "load", "the module has no json"),
        ({"main.py": "class M: pass"}, {}, "load", "has no start"),
        ({"main.py": module("pass")}, {}, "load", "needs process or process_batch"),
        ({"main.py": module("async def process(self, packet): pass")}, {}, "load", "packets do not wait"),
        ({"main.py": module("def __init__(self): 1 / 0")}, {}, "load", "ZeroDivisionError"),
        ({"main.py": module("process = 1\ndef start(self, context): 1 / 0")}, {}, "load", "plain functions"),
        ({"main.py": module("def start(self, context): 1 / 0")}, {"kind": "server"}, "start", "ZeroDivisionError"),
        (
            {"main.py": module("async def start(self, context): 1 / 0")},
            {"kind": "server"},
            "start",
            "ZeroDivisionError",
        ),
        (
            {"main.py": module("def process(self, p): pass\ndef start(self, context): context.listen()")},
            {},
            "start",
            "no tcp port to listen on: granted are none",
        ),
    ],
)
def test_a_module_that_cannot_begin_is_reported(
    box: Box, files: dict[str, str], more: dict[str, str], where: str, why: str
) -> None:
    box.load(1, files, **more)
    failed = box.hear(Failed)
    assert (failed.module, failed.where) == (1, where)
    assert why in failed.text
    # Nothing of it is left, so that the next one has its place.
    box.say(Unload(1))
    box.hear(Unloaded)
    box.run(1, module("def process(self, packet): return ACCEPT"))


def test_a_number_is_for_one_module(box: Box) -> None:
    box.run(1, module("def process(self, packet): return ACCEPT"))
    box.load(1, {"main.py": ""})
    assert "is there already" in box.hear(Failed).text


def test_a_module_that_is_not_there_is_unloaded(box: Box) -> None:
    box.say(Unload(5))
    assert box.hear(Unloaded) == Unloaded(5)


def test_rubbish_of_the_node_is_logged(box: Box) -> None:
    box.node.send(b"rubbish")
    assert box.hear(Log).level == "error"
    box.say(Ping(1))
    assert box.hear(Pong) == Pong(1)


def test_two_modules_may_have_files_of_the_same_names(box: Box) -> None:
    box.attach()
    for number, verdict in ((1, "ACCEPT"), (2, "DROP")):
        files = {
            "main.py": """
                from dataclasses import dataclass
                import helper
                import pack.deep
                from pack import deep as same, VALUE
                from pack.deep import choose
                from netserv.modules.api import Activator

                @dataclass
                class Kept:
                    value: "int"

                class M(Activator):
                    def start(self, context):
                        assert pack.deep is same and VALUE == helper.VALUE == Kept(VALUE).value
                        import helper as again
                        assert again is helper

                    def process(self, packet):
                        return choose()
            """,
            "helper.py": f"VALUE = {number}\n",
            "pack/__init__.py": "import helper\nVALUE = helper.VALUE\n",
            "pack/deep.py": f"from . import VALUE\nfrom .far import WORD\nfrom netserv.modules.api import {verdict}\n"
            f"def choose(): return {verdict}\n",
            "pack/far.py": "WORD = __name__\n",
            "json.py": "import xml\n",
        }
        box.load(number, files, filters=(number,))
        box.loaded(number)
    assert box.answers(PACKET, number=1) == [(ACCEPT, b"")]
    assert box.answers(PACKET, number=2) == [(DROP, b"")]
    box.unload(1)
    assert not [name for name in sys.modules if name.startswith("_netserv_module_1")]
    assert box.answers(PACKET, number=2) == [(DROP, b"")]
    assert not list(box.directory.glob("**/*.pyc"))


def test_bytecode_beside_a_source_is_not_taken(box: Box) -> None:
    place = box.directory / "module1"
    place.mkdir()
    (place / "helper.py").write_text("VERDICT = 'DROP'")
    cached = importlib.util.cache_from_source(str(place / "helper.py"))
    py_compile.compile(
        str(place / "helper.py"), cached, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    files = {
        "helper.py": "VERDICT = 'ACCEPT'",
        "main.py": module("def process(self, packet): import helper; return globals()[helper.VERDICT]"),
    }
    box.attach()
    box.load(1, files, filters=(1,))
    box.loaded(1)
    assert box.answers(PACKET) == [(ACCEPT, b"")]


def test_modules_see_only_exported_services_of_each_other(box: Box) -> None:
    provider = """
    def start(self, context):
        context.services.register("open.one", "first", lang="en", rank=1)
        context.services.register("open.one", "second", lang="de", rank=2)
        context.services.register("secret.one", "mine")
        assert context.services.find("secret.one") == "mine"
    def process(self, packet): return ACCEPT
    """
    box.load(1, {"main.py": HEAD + "class M(A):" + provider}, exports=("open.one",))
    box.loaded(1)
    user = """
    def start(self, context):
        find = context.services.find
        context.log.info("%s %s %s %s", find("open.one"), find("open.one", "(lang=en)"), find("secret.one"), find("no"))
        context.every(0.01, lambda: context.log.info("then %s", find("open.one")))
    def process(self, packet): return ACCEPT
    """
    box.run(2, HEAD + "class M(A):" + user)
    assert box.hear(Log) == Log(2, "info", "second first None None")
    box.unload(1)
    box.log_until("then None")


def test_a_module_knows_itself(box: Box) -> None:
    text = """
    def start(self, context):
        (context.storage / "kept").write_text("x")
        context.log.warning("%s %s %s", context.name, context.version, dict(context.properties))
        context.log.debug("not shown")
        context.log.error("%d")
        context.log.error("x" * 10_000)
        context.log.error("%d", "no number")
        context.log.error("half \\ud800")
    def process(self, packet): return ACCEPT
    """
    box.run(1, HEAD + "class M(A):" + text, properties={"a": "b"}, name="com.example.M", version="1.2")
    assert box.hear(Log) == Log(1, "warning", "com.example.M 1.2 {'a': 'b'}")
    assert box.hear(Log).text == "%d"
    assert len(box.hear(Log).text) == 4_096
    assert "cannot be put together" in box.hear(Log).text
    assert box.hear(Log).text == "half \\ud800"
    assert Path("storage/com.example.M/kept").read_text() == "x"


def test_endless_lines_are_left_out(box: Box) -> None:
    box.run(1, module("def process(self, p): pass\ndef start(self, c): [c.log.info('%d', n) for n in range(10_000)]"))
    box.say(Ping(1))
    box.hear(Pong)
    assert 200 <= sum(isinstance(message, Log) for message in box.heard) < 1_000


def test_timers_call_plain_functions_on_the_packet_thread(box: Box) -> None:
    text = """
    def start(self, context):
        import threading
        here = threading.get_ident()
        def tick():
            context.log.info("tick %s", here == threading.get_ident())
            if len(ticks) < 2: ticks.append(1)
            else: timer.cancel()
        def bad(): 1 / 0
        ticks = []
        timer = context.every(0.01, tick)
        context.after(0.0, bad)
        never = context.after(0.01, lambda: context.log.info("never"))
        never.cancel()
        never.cancel()
        context.after(0.2, lambda: context.log.info("done"))
    def process(self, packet): return ACCEPT
    """
    box.run(1, HEAD + "class M(A):" + text)
    box.log_until("done")
    assert [m.text for m in box.heard if isinstance(m, Log)] == []
    assert box.hear(Failed).where == "timer"


def test_a_packet_may_start_a_timer(box: Box) -> None:
    text = """
    def start(self, context):
        self.context = context
    def process(self, packet):
        self.context.after(0.001, lambda: self.context.log.info("rang"))
        return ACCEPT
    """
    box.attach()
    box.run(1, HEAD + "class M(A):" + text, filters=(1,))
    for _ in range(2):
        assert box.answers(PACKET) == [(ACCEPT, b"")]
        assert box.hear(Log).text == "rang"


def test_counters_are_told_once_a_second_when_they_change(box: Box) -> None:
    text = """
    def start(self, context):
        self.seen = context.metrics.counter("seen")
        context.metrics.gauge("level").set(2.5)
        context.metrics.ask("size", lambda: 7)
        context.metrics.ask("broken", lambda: 1 / 0)
    def process(self, packet):
        self.seen.add()
        return ACCEPT
    """
    box.attach()
    box.run(1, HEAD + "class M(A):" + text, filters=(1,))
    box.answers(PACKET, PACKET)
    box.metrics_until(seen=2.0, level=2.5, size=7.0)


def test_a_module_sends_packets_of_its_own(box: Box) -> None:
    box.attach()
    text = """
    def start(self, context):
        self.context = context
    def process(self, packet):
        assert self.context.inject(packet.reply(b"200 OK"))
        return DROP
    """
    box.run(1, HEAD + "class M(A):" + text, filters=(1,))
    assert box.broker is not None
    box.broker.post(PACKET, 1, 1)
    box.broker.wake()
    found = {answer.verdict: answer for answer in box.collected(2)}
    assert found[DROP].token == 1
    assert bytes(found[INJECT].data)[28:] == b"200 OK"
    assert found[INJECT].number == 1


def test_without_a_ring_nothing_is_sent(box: Box) -> None:
    text = "def process(self, p): pass\ndef start(self, c): c.log.info('%s', c.inject(bytes(20)))"
    box.run(1, module(text))
    assert box.hear(Log).text == "False"


def test_stop_is_called_and_its_faults_told(box: Box) -> None:
    text = "def process(self, p): pass\ndef start(self, c): self.c = c\ndef stop(self): self.c.log.info('bye'); 1 / 0"
    box.run(1, module(text))
    box.unload(1)
    assert box.hear(Log).text == "bye"
    assert box.hear(Failed).where == "stop"


def test_loading_and_unloading_leaves_nothing_behind(box: Box) -> None:
    text = """
    async def start(self, context):
        context.spawn(self.sleep)
        context.every(1.0, lambda: None)
        context.services.register("x", self)
        context.metrics.counter("x")
    async def sleep(self):
        import trio
        await trio.sleep_forever()
    def process(self, packet): return ACCEPT
    """
    box.attach()

    def turn() -> tuple[int, int, int]:
        box.run(1, HEAD + "class M(A):" + text, filters=(1,), kind="both")
        assert box.answers(PACKET) == [(ACCEPT, b"")]
        box.unload(1)
        return len(os.listdir("/proc/self/fd")), threading.active_count(), len(sys.modules)

    turn()
    first = turn()
    for _ in range(10):
        last = turn()
    assert last == first


def test_the_node_goes_and_servers_end(box: Box) -> None:
    threads = threading.active_count() - 1
    text = """
    async def start(self, context): self.path = context.storage / "stopped"
    async def stop(self): self.path.write_text("yes")
    """
    box.run(1, HEAD + "class M(A):" + text, kind="server")
    box.close()
    assert Path("storage/M1/stopped").read_text() == "yes"
    until(lambda: threading.active_count() == threads)


def test_a_busy_server_does_not_hold_up_a_ping(box: Box) -> None:
    text = """
    async def start(self, context): context.spawn(self.spin)
    async def spin(self):
        import trio
        while True:
            sum(range(10_000))
            await trio.lowlevel.checkpoint()
    """
    box.run(1, HEAD + "class M(A):" + text, kind="server")
    assert sys.getswitchinterval() == pytest.approx(SWITCH_S)
    assert SWITCH_S <= 0.0001, "the packet thread asks for the interpreter several times for each batch"
    for number in range(20):
        box.say(Ping(number))
        assert box.hear(Pong) == Pong(number)
    box.unload(1)


def test_loads_are_told_apart(box: Box) -> None:
    for number in (1, 2, 3):
        box.load(number, {"main.py": module("async def start(self, context): pass")}, kind="server")
    assert {box.hear(Loaded).module for _ in range(3)} == {1, 2, 3}
