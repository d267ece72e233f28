"""Two people in a room of Visio's own page: a program for the inside of the lab, with two Chromium.

Arguments: the public host, the lab's public authority (PEM), a folder that holds `alice.wav` and `bob.wav` for their
microphones and takes the screenshots. Alice signs in and makes the room, Bob follows her link; each looks for the
other's picture; Alice turns the captions on and reads. Each line of the output is one step in JSON, the last one with
what each of them saw.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

WITHIN_MS = 60_000
READ_S = 60.0
WORD = re.compile(r"\bw\d+\b")
PICTURES = """() => [...document.querySelectorAll("video")].filter(
    (video) => video.dataset.lkLocalParticipant !== "true" && video.videoWidth > 0 && !video.paused
).map((video) => ({width: video.videoWidth, height: video.videoHeight, at: video.currentTime}))"""
"""The other's pictures that play in the page."""


def say(step: str, **more: Any) -> None:
    print(json.dumps({"step": step, "t": round(time.time(), 2), **more}), flush=True)


def trusted_key(authority: Path) -> str:
    """The fingerprint by which Chromium is told to trust an authority."""
    key = x509.load_pem_x509_certificate(authority.read_bytes()).public_key()
    digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    return base64.b64encode(digest).decode()


def open_browser(playwright: Playwright, trusted: str, microphone: Path) -> Browser:
    """A Chromium with a test picture for a camera and a file for a microphone."""
    return playwright.chromium.launch(
        executable_path=shutil.which("chromium"),
        args=[
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--allow-loopback-in-peer-connection",
            "--autoplay-policy=no-user-gesture-required",
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone}",
            f"--ignore-certificate-errors-spki-list={trusted}",
        ],
    )


def open_page(browser: Browser, name: str, logs: Path) -> Page:
    page = browser.new_context(locale="en-GB", permissions=["camera", "microphone"]).new_page()
    page.set_default_timeout(WITHIN_MS)
    log = (logs / f"{name}.console").open("w")
    page.on("console", lambda message: print(message.type, message.text, file=log, flush=True))
    page.on("pageerror", lambda error: print("page error", error, file=log, flush=True))
    return page


def make_room(page: Page, host: str) -> str:
    """Sign in at the provider, make a room, and give its address."""
    page.goto(f"https://{host}/")
    create, login = page.locator("[data-attr=create-meeting]"), page.locator("[data-attr=login]")
    create.or_(login).first.wait_for()
    if not create.is_visible():
        login.first.click()
    create.click()
    page.locator("[data-attr=create-option-instant]").click()
    page.wait_for_url(re.compile(r"/[a-z]{3}-[a-z]{4}-[a-z]{3}"))
    return page.url


def join(page: Page, name: str) -> None:
    """Pass the page before the room, where there is one."""
    entered = page.locator("[data-attr^=controls-subtitles]")
    button = page.get_by_role("button", name="Join", exact=True)
    button.or_(entered).first.wait_for()
    if button.is_visible():
        page.get_by_label("Your name").fill(name)
        button.click()
    entered.first.wait_for()


def eventually(found: Callable[[], Any], page: Page, seconds: float) -> Any:
    """The last value of `found`, which is true, or what it was when the time was over."""
    end = time.monotonic() + seconds
    while not (value := found()) and time.monotonic() < end:
        page.wait_for_timeout(250)
    return value


def others_picture(page: Page) -> dict[str, Any] | None:
    """The other's picture, once it moves."""

    def moving() -> dict[str, Any] | None:
        before = page.evaluate(PICTURES)
        page.wait_for_timeout(1000)
        after = page.evaluate(PICTURES)
        if before and after and after[0]["at"] > before[0]["at"]:
            return dict(after[0])
        return None

    return eventually(moving, page, WITHIN_MS / 1000)


def words(page: Page) -> list[str]:
    """The words of the code in the page, as they are read."""
    return WORD.findall(page.inner_text("body"))


def main(host: str, authority: Path, folder: Path) -> None:
    saw: dict[str, Any] = {}
    with sync_playwright() as playwright, ExitStack() as stack:
        trusted, pages = trusted_key(authority), {}
        for name in ("alice", "bob"):
            browser = open_browser(playwright, trusted, folder / f"{name}.wav")
            stack.callback(browser.close)
            pages[name] = open_page(browser, name, folder)
        alice, bob = pages["alice"], pages["bob"]
        try:
            room = make_room(alice, host)
            say("room", url=room)
            join(alice, "Alice")
            say("joined", who="alice")
            bob.goto(room)
            join(bob, "Bob")
            say("joined", who="bob")
            for name, page in pages.items():
                saw[name] = {"picture": others_picture(page)}
                say("picture", who=name, picture=saw[name]["picture"])
            alice.locator("[data-attr=controls-subtitles-closed]").click()
            eventually(lambda: len(set(words(alice))) > 40, alice, READ_S)
            saw["alice"]["words"] = words(alice)
        finally:
            for name, page in pages.items():
                page.screenshot(path=folder / f"{name}.png")
    say("saw", **saw)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
