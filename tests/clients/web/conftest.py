"""A headless Chromium and a local server for the tests of export/web."""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


class Page:
    """A tab of a headless Chromium, over the DevTools protocol on a pair of pipes."""

    def __init__(self, chromium: str, profile: Path) -> None:
        # Chromium reads at 3 and writes at 4; the ends must not be those numbers already.
        their_in, our_out = (_high(fd) for fd in os.pipe())
        our_in, their_out = (_high(fd) for fd in os.pipe())
        flags = (
            "--headless --remote-debugging-pipe --no-sandbox --disable-gpu --disable-dev-shm-usage "
            "--no-first-run --disable-background-networking --disable-component-update "
            "--disable-sync --disable-quic --disable-extensions --force-color-profile=srgb "
            "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
        )
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-ISc",
                "import os, sys; fds = map(int, sys.argv[1:3]); os.dup2(next(fds), 3); "
                "os.dup2(next(fds), 4); os.execv(sys.argv[3], sys.argv[3:])",
                str(their_in),
                str(their_out),
                chromium,
                *flags.split(),
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            pass_fds=(their_in, their_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(their_in)
        os.close(their_out)
        self._in, self._out = our_in, our_out
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.log: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM", "Accessibility"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], 300)
            assert ready, "Chromium does not answer"
            chunk = os.read(self._in, 1 << 20)
            assert chunk, "Chromium has ended"
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.log.append(str(details.get("exception", details).get("description", details)))
        elif event.get("method") == "Log.entryAdded":
            entry = parameters["entry"]
            self.log.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")

    def open(self, address: str) -> None:
        self.js("window.isOld = true")
        self.log.clear()
        self.send("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && !window.isOld")

    def js(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression is true in the page."""
        wait = "new Promise((resolve) => setTimeout(resolve, 20))"
        for _ in range(6000):
            if self.js(f"{wait}.then(() => Boolean({condition}))"):
                return
        raise AssertionError(f"never happened: {condition}; {self.log}; {self.text()}")

    def text(self) -> str:
        return str(self.js("document.body.innerText"))

    def choose(self, element: str, *files: Path) -> None:
        """Choose files in a file input, as its dialog would."""
        element_object = self.send(
            "Runtime.evaluate", expression=f"document.getElementById('{element}')"
        )
        names = [str(file) for file in files]
        self.send(
            "DOM.setFileInputFiles", files=names, objectId=element_object["result"]["objectId"]
        )

    def key(self, key: str) -> None:
        codes = {"Tab": 9, "Enter": 13, "ArrowRight": 39, "Home": 36}
        event = {"key": key, "windowsVirtualKeyCode": codes[key]}
        down = {"type": "keyDown", "text": "\r"} if key == "Enter" else {"type": "rawKeyDown"}
        self.send("Input.dispatchKeyEvent", **down, **event)
        self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def screen(self, width: int, height: int, mobile: bool = False) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if mobile else 1,
            mobile=mobile,
        )

    def close(self) -> None:
        self._session = None
        try:
            self.send("Browser.close")
        except (AssertionError, OSError):
            self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)


def _high(fd: int) -> int:
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 32)
    os.close(fd)
    return moved


@pytest.fixture(scope="module")
def page(
    tmp_path_factory: pytest.TempPathFactory, program: Callable[[str, str], str]
) -> Iterator[Page]:
    chromium = program("chromium", "Chromium (Debian: apt-get install chromium)")
    opened = Page(chromium, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[Path], str]]:
    """Serve a folder on this machine alone; the address of the server."""
    servers = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
