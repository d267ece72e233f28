"""Two people who stay in a room of Visio's own page: a program for the inside of the lab, with two Chromium.

Arguments: the public host, the lab's public authority (PEM), a folder that holds `alice.wav` and `bob.wav` for their
microphones and `scripts.json`, paths that the page of their release may load. Alice signs in and makes the room, Bob
comes as a guest. Then each line of the output is a look at both in JSON: what they have received so far, and whether
the page is still the same one; Alice's page also asks for one of the scripts. When the folder gets a file `leave`,
Alice's page asks for all scripts and for the page as it is now, and both leave by the button.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

from browsers import join, make_room, open_browser, open_page, others_picture, say, trust
from playwright.sync_api import Page, Request, WebSocket, sync_playwright

EVERY_MS = 1000
LONGEST_S = 1_500
KEEP_PEERS = """(() => {
    const Peer = window.RTCPeerConnection;
    window.peers = [];
    window.RTCPeerConnection = class extends Peer {
        constructor(...given) { super(...given); window.peers.push(this); }
    };
})()"""
"""Remembers the page's connections, whose statistics it shows to nobody."""
LOOK = """async () => {
    const got = {audio: 0, video: 0}, states = [];
    for (const peer of window.peers) {
        states.push(peer.connectionState);
        for (const one of (await peer.getStats()).values())
            if (one.type === "inbound-rtp") got[one.kind] += one.packetsReceived;
    }
    const warning = document.querySelector("[class*=lk-toast-connection-state]");
    return {...got, states, born: performance.timeOrigin, path: location.pathname,
            warning: warning === null ? "" : warning.innerText};
}"""
ASK = """async (path) => {
    try {
        const answer = await fetch(path, {cache: "no-store"});
        const text = await answer.text();
        return {path, status: answer.status, kind: answer.headers.get("content-type"), length: text.length};
    } catch (error) {
        return {path, error: String(error)};
    }
}"""
PAGE_NOW = """async () => (await (await fetch("/", {cache: "no-store"})).text()).match(/src="([^"]+)"/)[1]"""
"""The main script of the page that somebody who comes now gets."""


def follow_signalling(page: Page, who: str) -> None:
    """Tell of each connection to a media server that is opened or closed."""

    def opened(socket: WebSocket) -> None:
        if "/rtc" in socket.url:
            say("signalling", who=who, open=True)
            socket.on("close", lambda _: say("signalling", who=who, open=False))

    page.on("websocket", opened)


def follow_scripts(page: Page, who: str) -> None:
    """Tell of each script for which the browser got no answer, and why."""

    def failed(request: Request) -> None:
        if "/assets/" in request.url:
            say("unanswered", who=who, path=request.url.partition("/assets/")[2], why=request.failure)

    page.on("requestfailed", failed)


def ask(page: Page, path: str) -> dict[str, Any]:
    """What comes for a script; where the browser had no answer, it is asked for once more."""
    answer: dict[str, Any] = page.evaluate(ASK, path)
    return dict(page.evaluate(ASK, path)) if "error" in answer else answer


def stay(pages: dict[str, Page], scripts: list[str], folder: Path) -> None:
    """Look at both once a second, until they shall leave."""
    end, asked = time.monotonic() + LONGEST_S, cycle(scripts)
    while not (folder / "leave").exists() and time.monotonic() < end:
        seen: dict[str, Any] = {who: page.evaluate(LOOK) for who, page in pages.items()}
        say("look", **seen, script=ask(pages["alice"], next(asked)))
        pages["alice"].wait_for_timeout(EVERY_MS)


def leave(page: Page, who: str) -> None:
    """By the button, which leads to a part of the page that was not loaded before."""
    page.locator("[data-attr=controls-leave]").click()
    page.wait_for_url("**/feedback")
    page.get_by_role("heading").first.wait_for()
    say("left", who=who, heading=page.get_by_role("heading").first.inner_text(), **page.evaluate(LOOK))


def main(host: str, authority: Path, folder: Path) -> None:
    scripts = json.loads((folder / "scripts.json").read_text())
    trust(authority)
    with sync_playwright() as playwright, ExitStack() as stack:
        pages = {}
        for who in ("alice", "bob"):
            browser = open_browser(playwright, folder / f"{who}.wav")
            stack.callback(browser.close)
            pages[who] = open_page(browser, who, folder)
            pages[who].add_init_script(KEEP_PEERS)
            follow_signalling(pages[who], who)
            follow_scripts(pages[who], who)
        alice, bob = pages["alice"], pages["bob"]
        try:
            room = make_room(alice, host)
            join(alice, "Alice")
            alice.get_by_role("button", name="Close").first.click()
            # Signed in he would be the same person, since the lab's provider knows but one.
            bob.goto(f"{room}?silentLogin=false")
            join(bob, "Bob")
            say("together", **{who: others_picture(page) for who, page in pages.items()})
            stay(pages, scripts, folder)
            say("scripts", answers=[ask(alice, path) for path in scripts], page=alice.evaluate(PAGE_NOW))
            say("pictures", **{who: others_picture(page) for who, page in pages.items()})
            for who, page in pages.items():
                page.screenshot(path=folder / f"{who}-upgraded.png")
                leave(page, who)
        finally:
            for who, page in pages.items():
                page.screenshot(path=folder / f"{who}.png")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
