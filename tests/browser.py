"""Pages in a real browser: headless Chromium, where the system has one."""

import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--enable-logging=stderr", "--virtual-time-budget=4000",
)  # fmt: skip
needed = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


def opened(url, folder, *flags):
    """The page's DOM after its script has run, and what the console said."""
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", *flags, "--dump-dom", url],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)


def width(url, folder, pixels):
    """How wide the page is in a window of so many pixels, as its own script could see it."""
    probe = f"<iframe id=f src='{url}' style='width:{pixels}px;height:800px;border:0'></iframe>"
    page = folder / "probe.html"
    page.write_text(
        f"<body>{probe}<script>onload = () => document.title = "
        "f.contentDocument.documentElement.scrollWidth</script>"
    )
    text, _ = opened(page.as_uri(), folder / "profile", "--allow-file-access-from-files")
    return int(re.search(r"<title>(\d+)</title>", text)[1])
