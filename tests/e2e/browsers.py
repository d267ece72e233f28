"""Two people in a room of Visio's own page: a program for the inside of the lab, with two Chromium.

Arguments: the public host, the lab's public authority (PEM), a folder that holds `alice.wav` and `bob.wav` for their
microphones and takes the screenshots. Alice signs in, makes the room and turns the captions on, Bob comes as a guest;
each looks for the other's picture; Alice reads what both say. Each line of the output is one step in JSON, the last one
with what each of them saw.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Playwright, ViewportSize, sync_playwright

WITHIN_MS = 60_000
READ_S, ENOUGH = 90.0, 70
WINDOW = ViewportSize(width=960, height=640)
ATTEMPTS, AGENT_S = 8, 12.0
WORD = re.compile(r"\bw\d+\b")
PICTURES = """() => [...document.querySelectorAll("video")].filter(
    (video) => video.dataset.lkLocalParticipant !== "true" && video.videoWidth > 0 && !video.paused
).map((video) => ({width: video.videoWidth, height: video.videoHeight, at: video.currentTime}))"""
"""The other's pictures that play in the page."""


def say(step: str, **more: Any) -> None:
    print(json.dumps({"step": step, "t": round(time.time(), 2), **more}), flush=True)


def trust(authority: Path) -> None:
    """Let Chromium trust an authority, by the store of certificates in this user's home."""
    store = Path(os.environ["HOME"], ".pki", "nssdb")
    store.mkdir(parents=True)
    for arguments in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "lab", "-i", str(authority)]):
        subprocess.run(["certutil", "-d", f"sql:{store}", *arguments], check=True)


def open_browser(playwright: Playwright, microphone: Path) -> Browser:
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
            # Few pictures a second, since two browsers without a GPU share this machine with everything else.
            "--use-fake-device-for-media-stream=fps=5",
            f"--use-file-for-fake-audio-capture={microphone}",
        ],
    )


def open_page(browser: Browser, name: str, logs: Path) -> Page:
    page = browser.new_context(locale="en-GB", permissions=["camera", "microphone"], viewport=WINDOW).new_page()
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
    entered = page.locator("[data-attr=controls-leave]")
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


def caption(page: Page) -> int:
    """Turn the captions on until words come; how often it took.

    An agent takes no room while its load is above 0.7; in the lab that is the whole machine's, busy with browsers.
    Visio asks for one when somebody turns the captions on, and never again.
    """
    for attempt in range(1, ATTEMPTS + 1):
        page.locator("[data-attr=controls-subtitles-closed]").click()
        if eventually(lambda: words(page), page, AGENT_S):
            return attempt
        page.locator("[data-attr=controls-subtitles-open]").click()
    return 0


def main(host: str, authority: Path, folder: Path) -> None:
    saw: dict[str, Any] = {}
    trust(authority)
    with sync_playwright() as playwright, ExitStack() as stack:
        pages = {}
        for name in ("alice", "bob"):
            browser = open_browser(playwright, folder / f"{name}.wav")
            stack.callback(browser.close)
            pages[name] = open_page(browser, name, folder)
        alice, bob = pages["alice"], pages["bob"]
        try:
            room = make_room(alice, host)
            say("room", url=room)
            join(alice, "Alice")
            say("joined", who="alice")
            # The invitation would lie over the captions.
            alice.get_by_role("button", name="Close").first.click()
            asked = caption(alice)
            say("captioned", asked=asked, words=words(alice))
            # Signed in he would be the same person, since the lab's provider knows but one, and Alice would have to go.
            bob.goto(f"{room}?silentLogin=false")
            join(bob, "Bob")
            say("joined", who="bob")
            for name, page in pages.items():
                saw[name] = {"picture": others_picture(page)}
                say("picture", who=name, picture=saw[name]["picture"])
            eventually(lambda: len(set(words(alice))) > ENOUGH, alice, READ_S)
            saw["alice"]["words"] = words(alice)
        finally:
            for name, page in pages.items():
                page.screenshot(path=folder / f"{name}.png")
    say("saw", **saw)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
