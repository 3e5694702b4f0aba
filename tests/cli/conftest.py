# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by the GNU General Public License,
# version 3 or later, that can be found in the LICENSE file.

from __future__ import annotations

import base64
import dataclasses
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "microsoft-edge",
)
"""Names of Chromium and related browsers."""

MISSING = (
    "No browser was found to open the report. On Debian, run apt-get update && apt-get install -y "
    "--no-install-recommends chromium-headless-shell fonts-dejavu-core. On other systems install Chromium or "
    "Chrome, and set the environment variable MEAS_TRAILS_BROWSER to its path unless PATH has one of "
    f"{', '.join(NAMES)}."
)

FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    # The sandbox needs privileges that root and containers lack.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--mute-audio",
)

INSPECTION = """
(async () => {
  const images = [...document.images];
  // An image that waits until it is in view is never decoded.
  images.forEach(image => { image.loading = 'eager'; });
  const decoded = await Promise.all(images.map(image => image.decode().then(() => true, () => false)));
  await document.fonts.ready;
  const width = document.documentElement.clientWidth;
  const scrolls = element => element.closest('.box, pre') !== null;
  const wide = [...document.body.querySelectorAll('*')].filter(
    element => !scrolls(element) && element.getBoundingClientRect().right > width + 0.5);
  const luminance = color => {
    const [r, g, b] = color.match(/[0-9.]+/g).slice(0, 3).map(Number).map(value => value / 255).map(
      value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$/.test(color)) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  const contrast = element => {
    const pair = [luminance(getComputedStyle(element).color), luminance(behind(element))];
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  };
  const texts = [...document.body.querySelectorAll('*')].filter(element =>
    [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
  return {
    title: document.title,
    width: width,
    scroll_width: document.documentElement.scrollWidth,
    text: document.body.innerText,
    headings: [...document.querySelectorAll('h1, h2, h3')].map(element => element.innerText),
    images: images.length,
    broken_images: decoded.filter(good => !good).length,
    without_alt: images.filter(image => !image.alt.trim()).length,
    too_wide: wide.map(element => element.outerHTML.slice(0, 120)),
    scripts: document.scripts.length,
    least_contrast: Math.min(21, ...texts.map(contrast)),
    least_font: Math.min(99, ...texts.map(element => parseFloat(getComputedStyle(element).fontSize))),
    dead_links: [...document.querySelectorAll('a[href^="#"]')].filter(
      link => !document.getElementById(link.getAttribute('href').slice(1))).length,
    image_widths: images.map(image => image.getBoundingClientRect().width),
  };
})()
"""


@dataclasses.dataclass(frozen=True)
class Look:
    """Result of opening a page in a browser.

    Parameters
    ----------
    found
        Properties of the page, as returned by the script `INSPECTION`.
    requests
        Addresses that were requested, except the page and its embedded data.
    failures
        Failed requests.
    errors
        Errors and console messages.
    screenshot
        Picture of the entire page, PNG.
    """

    found: dict[str, Any]
    requests: list[str]
    failures: list[str]
    errors: list[str]
    screenshot: bytes


class Browser:
    """A headless Chromium, controlled through a pipe in its DevTools protocol.

    Parameters
    ----------
    executable
        Path of the browser.
    profile
        Folder for its files.
    """

    def __init__(self, executable: str, profile: Path) -> None:
        # The browser reads from its descriptor 3 and writes to 4.
        ours, theirs = os.pipe(), os.pipe()
        reads, writes = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (ours[0], theirs[1]))
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        log = os.open(profile / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
        self._log = profile / "log.txt"
        self._pid = os.posix_spawn(
            executable,
            [executable, *FLAGS, f"--user-data-dir={profile / 'data'}", "about:blank"],
            {**os.environ, "HOME": str(profile)},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
                (os.POSIX_SPAWN_DUP2, reads, 3),
                (os.POSIX_SPAWN_DUP2, writes, 4),
            ],
            setpgroup=0,
        )
        for fd in (reads, writes, null, log, ours[0], theirs[1]):
            os.close(fd)
        self._to, self._from = ours[1], theirs[0]
        self._number = 0
        self._rest = b""
        self.events: list[dict[str, Any]] = []

    def close(self) -> None:
        os.close(self._to)
        os.close(self._from)
        os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            left = deadline - time.monotonic()
            ready = left > 0.0 and select.select([self._from], [], [], left)[0]
            part = os.read(self._from, 1 << 20) if ready else b""
            assert part, f"the browser does not answer: {self._log.read_text(errors='replace')[-2000:]}"
            self._rest += part
        message, self._rest = self._rest.split(b"\0", 1)
        return dict(json.loads(message))

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        deadline = time.monotonic() + 120.0
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            self.events.append(answer)

    def wait_for(self, event: str) -> None:
        """Wait for an event."""
        deadline = time.monotonic() + 120.0
        while not any(message["method"] == event for message in self.events):
            self.events.append(self._receive(deadline))

    def open(self, page: Path, width: int, height: int = 900) -> Tab:
        """Open a file in a new window.

        Parameters
        ----------
        page
            The file.
        width, height
            Size of the window, CSS pixels. Narrow windows are those of a phone, with a touch screen.
        """
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable", session)
        is_phone = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            session,
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=is_phone,
        )
        if is_phone:
            self.call("Emulation.setTouchEmulationEnabled", session, enabled=True)
        self.events.clear()
        self.call("Page.navigate", session, url=page.as_uri())
        self.wait_for("Page.loadEventFired")
        return Tab(self, page, target, session)

    def look(self, page: Path, width: int, height: int = 900, script: str = "") -> Look:
        """Open a file in a window, look at it, and close it.

        Parameters
        ----------
        page
            The file.
        width, height
            Size of the window, CSS pixels.
        script
            Script to run on the page before the inspection.
        """
        tab = self.open(page, width, height)
        tab.run(script)
        look = tab.look()
        tab.close()
        return look


class Tab:
    """A page in a browser, for real keys, clicks and taps.

    Parameters
    ----------
    browser
        The browser.
    page
        File that is open.
    target, session
        Identifiers in the protocol.
    """

    def __init__(self, browser: Browser, page: Path, target: str, session: str) -> None:
        self._browser = browser
        self._page = page
        self._target = target
        self._session = session

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def run(self, code: str) -> Any:
        """Return the value of a script, after its promise if it is one."""
        result = self._call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def text(self, selector: str) -> str:
        """Return the text of an element."""
        return str(self.run(f"document.querySelector({selector!r}).textContent"))

    def wait(self, code: str) -> None:
        """Wait until a script returns true."""
        deadline = time.monotonic() + 60.0
        while not self.run(code):
            assert time.monotonic() < deadline, f"{code} is still false"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press a key, named as in the events of JavaScript."""
        names = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Enter": 13, "Tab": 9}
        event: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": names.get(key, ord(key[0].upper()))}
        if len(key) == 1 or key == "Enter":
            event["text"] = "\r" if key == "Enter" else key
        self._call("Input.dispatchKeyEvent", type="keyDown", **event)
        self._call("Input.dispatchKeyEvent", type="keyUp", **event)

    def click(self, selector: str, *, tap: bool = False) -> None:
        """Click or tap the middle of an element."""
        place = self.run(
            f"(() => {{ const element = document.querySelector({selector!r}); "
            "element.scrollIntoView({block: 'center'}); const box = element.getBoundingClientRect(); "
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        x, y = (round(value) for value in place)
        if tap:
            self._call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
            self._call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
            # The browser makes the click of a tap on its own time.
            self.run("new Promise(done => setTimeout(done, 100))")
            return
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose the file of an input element."""
        found = self._call("Runtime.evaluate", expression=f"document.querySelector({selector!r})")
        self._call("DOM.setFileInputFiles", files=[str(path)], objectId=found["result"]["objectId"])

    def download(self, selector: str, folder: Path) -> Path:
        """Click an element and return the file that it downloads."""
        folder.mkdir()
        self._browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self.click(selector)
        deadline = time.monotonic() + 60.0
        while not (files := [path for path in folder.iterdir() if path.suffix != ".crdownload"]):
            assert time.monotonic() < deadline, "nothing was downloaded"
            time.sleep(0.05)
        return files[0]

    def reload(self) -> None:
        """Load the page once more."""
        self._browser.events.clear()
        self._call("Page.reload")
        self._browser.wait_for("Page.loadEventFired")

    def look(self) -> Look:
        """Inspect the page as it is now."""
        found = self.run(INSPECTION)
        picture = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        events = [(message["method"], message["params"]) for message in self._browser.events]
        requests = [
            event["request"]["url"] for method, event in events if method == "Network.requestWillBeSent"
        ]
        return Look(
            found=found,
            requests=[url for url in requests if url != self._page.as_uri() and not url.startswith("data:")],
            failures=[str(event) for method, event in events if method == "Network.loadingFailed"],
            errors=[
                str(event)
                for method, event in events
                if method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
            ],
            screenshot=base64.b64decode(picture["data"]),
        )

    def close(self) -> None:
        """Close the window."""
        self._browser.call("Target.closeTarget", targetId=self._target)


def find_browser() -> str:
    """Return the path of a browser, or fail the test with instructions to install one."""
    named = os.environ.get("MEAS_TRAILS_BROWSER")
    wanted = NAMES if named is None else (named,)
    found = next((path for name in wanted if (path := shutil.which(name)) is not None), None)
    if found is None:
        pytest.fail(MISSING if named is None else f"MEAS_TRAILS_BROWSER={named} is not a program. {MISSING}")
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return a browser to open pages."""
    executable = find_browser()
    # The profile contains sockets, whose paths must be short.
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        opened = Browser(executable, Path(profile))
        try:
            yield opened
        finally:
            opened.close()
