"""A page as a browser makes it of its HTML."""

import json
import pathlib
import re
import shutil
import subprocess
from typing import NamedTuple

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--enable-logging=stderr", "--virtual-time-budget=2000"),
    "--host-resolver-rules=MAP * ~NOTFOUND",  # nothing leaves this machine
)


class Opened(NamedTuple):
    """What the browser has after the scripts of a page ran."""

    dom: str
    console: list[str]
    requests: list[str]

    @property
    def root(self) -> dict[str, str]:
        """The attributes that scripts gave to the root."""
        (tag,) = re.findall(r"<html ([^>]*)>", self.dom)
        return dict(re.findall(r'([\w-]+)="([^"]*)"', tag))


def browser() -> str:
    """Returns the path of Chromium, or skips the test."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"The page is not opened: there is no {' or '.join(NAMES)}.")
    return found


def open_page(page: str, directory: pathlib.Path) -> Opened:
    """Opens a page from a file of its own, in a window 1,200 pixels wide."""
    program = browser()
    file, log = directory / "page.html", directory / "net.json"
    file.write_text(page, encoding="utf-8")
    done = subprocess.run(
        [
            *(program, *OPTIONS, "--window-size=1200,900", f"--log-net-log={log}"),
            *(f"--user-data-dir={directory / 'profile'}", "--dump-dom", file.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Opened(done.stdout, console, sorted(_requests(log.read_text())))


def _requests(log: str) -> set[str]:
    """Returns the addresses that the page asked for; the browser has its own."""
    asked = [event.get("params", {}) for event in json.loads(log)["events"]]
    return {
        params["url"]
        for params in asked
        if params.get("initiator", "not an origin") != "not an origin"
        and not params["url"].startswith(("file:", "data:"))
    }
