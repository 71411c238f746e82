"""A page in headless Chromium that a test clicks through, by the browser's own debugging protocol."""

import base64
import contextlib
import json
import os
import pathlib
import socket
import struct
import subprocess
import time
import urllib.request

import browser

FLAGS = [flag for flag in browser.FLAGS if "virtual-time" not in flag and "logging" not in flag]
PATIENCE = 60  # seconds


class Socket:
    """As much of a WebSocket client as is needed: texts, in both directions."""

    def __init__(self, port, path):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        key = base64.b64encode(os.urandom(16)).decode()
        head = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        self._socket.sendall(head.encode())
        self._file = self._socket.makefile("rb")
        while self._file.readline().strip():
            pass

    def send(self, text):
        data = text.encode()
        length = (
            struct.pack(">B", 128 | len(data))
            if len(data) < 126
            else struct.pack(">BQ", 128 | 127, len(data))
        )
        self._socket.sendall(b"\x81" + length + bytes(4) + data)  # a mask of zeros

    def read(self):
        parts, last = [], False
        while not last:
            first, length = self._file.read(2)
            last = bool(first & 128)
            if length == 126:
                (length,) = struct.unpack(">H", self._file.read(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self._file.read(8))
            parts.append(self._file.read(length))
        return b"".join(parts).decode()

    def close(self):
        self._file.close()
        self._socket.close()


class Page:
    """One page.

    Attributes:
      console: what it has said, mistakes of scripts and of the policy included.
      fetched: the addresses that it has asked for.
    """

    def __init__(self, port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=PATIENCE) as answer:
            pages = [one for one in json.load(answer) if one["type"] == "page"]
        path = pages[0]["webSocketDebuggerUrl"].partition(str(port))[2]
        self._socket, self._number = Socket(port, path), 0
        self.console, self.fetched = [], []
        for room in ("Runtime", "Log", "Network", "Page", "DOM"):
            self(f"{room}.enable")

    def __call__(self, method, **values):
        """What the browser answers to a command; what happens meanwhile is kept."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": values}))
        while True:
            told = json.loads(self._socket.read())
            if told.get("id") == self._number:
                assert "error" not in told, (method, told["error"])
                return told["result"]
            self._keep(told["method"], told["params"])

    def _keep(self, method, told):
        if method == "Runtime.consoleAPICalled":
            self.console.append(str([one.get("value") for one in told["args"]]))
        elif method == "Runtime.exceptionThrown":
            self.console.append(str(told["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.console.append(told["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.fetched.append(told["request"]["url"])

    def run(self, code):
        """The value of an expression in the page, awaited."""
        found = self("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, (code, found)
        return found["result"].get("value")

    def until(self, code):
        """Waits until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.run(code):
            assert time.monotonic() < end, f"never true: {code}; said {self.console}"
            time.sleep(0.05)

    def open(self, url, width=1280, height=900, dark=False):
        """Loads an address in a window of that size."""
        phone = {"deviceScaleFactor": 1, "mobile": width < 600}
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, **phone)
        light = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[light])
        self("Page.navigate", url=url)
        self.until(f"location.href.startsWith({url!r}) && document.readyState === 'complete'")

    def choose(self, selector, path):
        """Gives a file to an input."""
        root = self("DOM.getDocument")["root"]["nodeId"]
        node = self("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def picture(self, path):
        """A picture of the whole page as a PNG."""
        height = self.run("document.documentElement.scrollHeight")
        width = self.run("innerWidth")
        whole = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        told = self("Page.captureScreenshot", clip=whole, captureBeyondViewport=True)
        pathlib.Path(path).write_bytes(base64.b64decode(told["data"]))


@contextlib.contextmanager
def chromium(folder, *flags):
    """An empty page of a browser of its own, with its profile in `folder`."""
    command = [
        browser.CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "--remote-debugging-port=0", *flags,
        "about:blank",
    ]  # fmt: skip
    told = pathlib.Path(folder) / "DevToolsActivePort"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE
        while not (told.exists() and told.read_text().count("\n")):
            assert time.monotonic() < end and process.poll() is None, "Chromium has not started"
            time.sleep(0.05)
        page = Page(int(told.read_text().split()[0]))
        yield page
        page._socket.close()
    finally:
        process.terminate()
        process.wait(10)
