"""A headless Chromium, driven through chromedriver's own HTTP interface (W3C WebDriver)."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One tab of a browser."""

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, page: Path, width: int, height: int = 900) -> None:
        """Open a file in a window of a size; the log of the page before is forgotten."""
        self._post("window/rect", width=width, height=height)
        self._post("url", url=page.resolve().as_uri())
        # The window's frame, if any, takes from the width that was asked for.
        lacking = width - self.run("return window.innerWidth")
        if lacking:
            self._post("window/rect", width=width + lacking, height=height)
        assert self.run("return window.innerWidth") == width

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript as the body of a function in the frame that is looked at."""
        return self._post("execute/sync", script=script, args=list(arguments))

    def drag(self, *points: tuple[float, float], press: bool = True) -> None:
        """Move the mouse from point to point of the frame, with its button held if asked for."""
        moves = [
            {"type": "pointerMove", "x": round(x), "y": round(y), "duration": 0} for x, y in points
        ]
        down, up = ({"type": f"pointer{word}", "button": 0} for word in ("Down", "Up"))
        steps = [moves[0], down, *moves[1:], up] if press else moves
        self._post("actions", actions=[{"type": "pointer", "id": "mouse", "actions": steps}])

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, on what has the focus."""
        steps = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._post("actions", actions=[{"type": "key", "id": "keys", "actions": steps}])

    def wait(self, script: str, seconds: float = 10.0) -> Any:
        """Run JavaScript until it returns something true, and return that."""
        end = time.monotonic() + seconds
        while not (found := self.run(script)):
            assert time.monotonic() < end, f"waited in vain for: {script}"
            time.sleep(0.02)
        return found

    @contextmanager
    def frame(self, selector: str) -> Iterator[None]:
        """Look into a frame for a while."""
        element = self._post("element", using="css selector", value=selector)
        self._post("frame", id={_ELEMENT: element[_ELEMENT]})
        try:
            yield
        finally:
            self._post("frame/parent")

    def errors(self) -> list[str]:
        """Return what the console has said of errors since the last call."""
        entries = self._post("se/log", type="browser")
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def picture(self, path: Path) -> Path:
        """Write a picture of what the window shows."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(_call("GET", f"{self._session}/screenshot")))
        return path

    def _post(self, command: str, **content: Any) -> Any:
        return _call("POST", f"{self._session}/{command}", content)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start chromedriver and a headless Chromium; both end with the context."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as profile:
        driver = subprocess.Popen(
            [str(DRIVER), f"--port={port}", "--log-level=OFF"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(server, driver)
            # A container's root has no sandbox and little shared memory; nothing needs the network.
            options = {
                "binary": CHROMIUM,
                "args": [
                    "--headless=new",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-dev-shm-usage",
                    "--disable-background-networking",
                    "--no-first-run",
                    "--hide-scrollbars=false",
                    f"--user-data-dir={profile}",
                ],
            }
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            made = _call("POST", f"{server}/session", {"capabilities": {"alwaysMatch": wanted}})
            session = f"{server}/session/{made['sessionId']}"
            try:
                yield Browser(session)
            finally:
                _call("DELETE", session)
        finally:
            driver.terminate()
            driver.wait(10)


def _wait_for(server: str, driver: subprocess.Popen[bytes]) -> None:
    for _ in range(500):
        try:
            if _call("GET", f"{server}/status")["ready"]:
                return
        except (urllib.error.URLError, ConnectionError):
            assert driver.poll() is None, "chromedriver ended at once"
        time.sleep(0.02)
    raise AssertionError("chromedriver does not answer")


def _call(method: str, url: str, content: dict[str, Any] | None = None) -> Any:
    """Send one command; a script's error and the like are raised as the browser words them."""
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    # A proxy of the environment is for other machines.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        value = json.load(error)["value"]
        raise RuntimeError(f"{value['error']}: {value['message']}") from None
