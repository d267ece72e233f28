"""Plays the image meet-frontend: nginx with one page on port 8080, which is the answer to every path.

The real server's fallback for a single-page application makes no 404, so that a wrong route to it looks like a page.
"""

import os
import sys

from aiohttp import web

PORT = 8080
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Visio</title></head>
<body><div id="root">Visio (stand-in)</div></body>
</html>
"""


def application() -> web.Application:
    """The page on every path; nginx refuses what neither reads nor asks about it."""
    app = web.Application()

    async def page(request: web.Request) -> web.Response:
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405)
        return web.Response(text=PAGE, content_type="text/html", headers={"Cache-Control": "no-cache"})

    app.router.add_route("*", "/{path:.*}", page)
    return app


def main(argv: list[str]) -> None:
    """`nginx -g "daemon off;"`, the image's command, or nothing."""
    if argv and argv != ["nginx", "-g", "daemon off;"]:
        raise SystemExit(f"nginx: unknown command line {' '.join(argv)}")
    port = int(os.environ.get("LAB_HTTP_PORT") or PORT)
    web.run_app(application(), port=port, access_log=None, shutdown_timeout=10, print=None)


if __name__ == "__main__":
    main(sys.argv[1:])
