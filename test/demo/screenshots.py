"""Take the pictures that docs/demo.md shows: ``python test/demo/screenshots.py``, from the root of the repository."""

from __future__ import annotations

import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "test"))

from running_demo import Demo, demo  # noqa: E402

LARGEST = 120_000
"""Bytes of a picture."""

DESK = {"width": 1000, "height": 860}
PHONE = {"width": 390, "height": 844}

PHONES = "Mozilla/5.0 (Android 14; Mobile; rv:130.0) Gecko/130.0 Firefox/130.0"
DESKS = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"


def session(page: Page, running: Demo) -> None:
    page.get_by_label("Name").fill("Anne")
    page.get_by_role("button", name="Log in").click()
    for key, value in (("basket", "two pounds of tea"), ("colour", "blue")):
        page.get_by_label("Key").fill(key)
        page.get_by_label("Value").fill(value)
        page.get_by_role("button", name="Set").click()
    page.get_by_role("button", name="Add one to the counter").click()
    page.goto(list(running.servers.values())[1].url)


def race(page: Page, running: Demo) -> None:
    page.goto("/labs")
    page.get_by_role("button", name="Run the race").click()
    page.get_by_role("button", name="Run the race", disabled=False).wait_for()
    page.locator(".result", has_text="counter").nth(2).wait_for()


def devices(page: Page, running: Demo) -> None:
    page.get_by_label("Name").fill("Anne")
    page.get_by_role("button", name="Log in").click()
    page.goto(running.servers["Flask"].url + "devices")


PICTURES: dict[str, tuple[Callable[[Page, Demo], None], dict]] = {
    "demo-session": (session, {"viewport": DESK, "color_scheme": "light", "user_agent": DESKS}),
    "demo-race": (race, {"viewport": DESK, "color_scheme": "dark"}),
    "demo-devices": (devices, {"viewport": PHONE, "color_scheme": "light", "is_mobile": True, "user_agent": PHONES}),
}
"""What is in each, in this order: who logs in for the first is seen in the last."""


def take(browser: Browser, running: Demo, name: str) -> None:
    """Take one picture, as seen without scrolling."""
    prepare, options = PICTURES[name]
    page = browser.new_context(base_url=running.first.url, reduced_motion="reduce", **options).new_page()
    page.goto("/")
    prepare(page, running)
    picture = packed(page.screenshot())
    assert len(picture) <= LARGEST, f"{name} has {len(picture)} bytes"
    (ROOT / f"docs/{name}.png").write_bytes(picture)
    print(f"docs/{name}.png: {len(picture)} bytes")


def packed(png: bytes) -> bytes:
    """Compress a picture as well as zlib can: the browser is in a hurry."""
    chunks = list(_chunks(png))
    pixels = zlib.compress(zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT")), 9)
    rest = [chunk for chunk in chunks if chunk[0] != b"IDAT"]
    return png[:8] + b"".join(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
                              for kind, data in [*rest[:-1], (b"IDAT", pixels), rest[-1]])


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at:at + 8])
        yield kind, png[at + 8:at + 8 + size]
        at += size + 12


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, demo(Path(folder), "directory", port=8080) as running, \
            sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for name in PICTURES:
            take(browser, running, name)
        browser.close()


if __name__ == "__main__":
    main()
