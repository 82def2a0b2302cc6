"""Headless Chromium on a host of the laboratory, driven over its debugging pipe.

The pipe is two file descriptors with JSON, a zero byte behind each message (Chromium's `--remote-debugging-pipe`): a
test needs no driver program, no WebSocket and no port for it. What a page reports as an error is an error of the test.
"""

import base64
import itertools
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tools.netlab import Host, wait_until

START_S: Final = 30.0
"Longest wait for an answer: a busy machine takes seconds to start a browser."
PATIENCE_S: Final = 20.0
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--lang=en",
)
OPERATED: Final = {"button", "link", "textbox", "searchbox", "combobox"}
"Roles of controls (WAI-ARIA)."


class Browser:
    """One browser with one page.

    Args:
        host: on which it runs.
        width: of its window.
        height: of its window.
        flags: further ones.
    """

    def __init__(self, host: Host, width: int = 1360, height: int = 900, *, flags: tuple[str, ...] = ()) -> None:
        self._size = (width, height)
        self._numbers = itertools.count(1)
        self._buffer = bytearray()
        self._session = ""
        self.problems: list[str] = []
        "What the page has reported: exceptions, and what its policy forbids."
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        profile = host.directory / f"browser-{time.monotonic_ns()}"
        # The shell gives the pipes the numbers 3 and 4, where the browser expects them.
        script = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        words = ["chromium", *FLAGS, *flags, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
        with (host.directory / "chromium.log").open("ab") as log:
            self._process = subprocess.Popen(
                host.command("bash", "-c", script, "bash", *words),
                env=host.environment,
                pass_fds=(to_browser, from_browser),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        os.close(to_browser)
        os.close(from_browser)

    def __enter__(self) -> Self:
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Accessibility"):
            self._call(f"{domain}.enable")
        width, height = self._size
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._session = ""
            if kind is None:
                self._call("Browser.close")
        finally:
            os.close(self._out)  # without it the browser ends, too
            try:
                self._process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            os.close(self._in)

    def open(self, url: str) -> None:
        """Go to a page."""
        done = self._call("Page.navigate", url=url)
        assert "errorText" not in done, done
        wait_until(lambda: self.ask("document.readyState") == "complete", PATIENCE_S, "loaded page")

    def ask(self, expression: str) -> Any:
        """Return what an expression of JavaScript gives in the page."""
        done = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def wait(self, expression: str, what: str, timeout_s: float = PATIENCE_S) -> Any:
        """Wait until an expression is true in the page, and return it."""
        return wait_until(lambda: self.ask(expression), timeout_s, what, lambda: f":\n{self.text()}")

    def text(self) -> str:
        """What the page shows."""
        return str(self.ask("document.body.innerText"))

    def scheme(self, name: str) -> None:
        """Prefer `light` or `dark`."""
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def press(self, key: str, code: int = 0) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def names(self) -> list[tuple[str, str]]:
        """Role and name of what can be operated, as those hear it who do not see the page."""
        nodes = self._call("Accessibility.getFullAXTree")["nodes"]
        values = [tuple(str(node.get(part, {}).get("value", "")) for part in ("role", "name")) for node in nodes]
        return [(role, name) for role, name in values if role in OPERATED]

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Write what it shows as PNG."""
        done = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(done["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + START_S
        while True:
            for answer in self._messages(deadline):
                if answer.get("id") == number:
                    assert "error" not in answer, f"{method}: {answer}"
                    result: dict[str, Any] = answer["result"]
                    return result
                self._notice(answer)

    def _messages(self, deadline: float) -> Iterator[dict[str, Any]]:
        readable, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
        assert readable, "the browser does not answer"
        data = os.read(self._in, 1 << 20)
        assert data, f"the browser has ended with status {self._process.poll()}"
        self._buffer += data
        while b"\0" in self._buffer:
            message, _, rest = bytes(self._buffer).partition(b"\0")
            self._buffer = bytearray(rest)
            yield json.loads(message)

    def _notice(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.problems.append(str(parameters["exceptionDetails"]))
            case "Log.entryAdded" if parameters["entry"]["level"] == "error":
                self.problems.append(parameters["entry"]["text"])
            case "Runtime.consoleAPICalled" if parameters["type"] == "error":
                self.problems.append(str(parameters["args"]))
