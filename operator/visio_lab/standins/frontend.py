"""Plays the image meet-frontend: nginx with one page on port 8080, which is the answer to every path.

The real server's fallback for a single-page application makes no 404, so that a wrong route to it looks like a page.
With `--pages DIR` it serves a front end that was built from a checkout of Visio.
"""

import argparse
import os
import sys
from pathlib import Path

from aiohttp import web

PORT = 8080
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Visio</title></head>
<body><div id="root">Visio (stand-in)</div></body>
</html>
"""


def application(pages: Path | None = None) -> web.Application:
    """The page on every path where `pages` has no file; nginx refuses what neither reads nor asks about it."""
    app = web.Application()
    root = pages.resolve() if pages else None

    async def page(request: web.Request) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405)
        uncached = {"Cache-Control": "no-cache"}
        if root is None:
            return web.Response(text=PAGE, content_type="text/html", headers=uncached)
        asked = (root / request.match_info["path"]).resolve()
        if asked.is_file() and asked.is_relative_to(root):
            return web.FileResponse(asked)
        return web.FileResponse(root / "index.html", headers=uncached)

    app.router.add_route("*", "/{path:.*}", page)
    return app


def main(argv: list[str]) -> None:
    """`nginx -g "daemon off;"`, the image's command, or nothing; and `--pages DIR`."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--pages", type=Path)
    options, words = parser.parse_known_args(argv)
    if words and words != ["nginx", "-g", "daemon off;"]:
        raise SystemExit(f"nginx: unknown command line {' '.join(words)}")
    port = int(os.environ.get("LAB_HTTP_PORT") or PORT)
    web.run_app(application(options.pages), port=port, access_log=None, shutdown_timeout=10, print=None)


if __name__ == "__main__":
    main(sys.argv[1:])
