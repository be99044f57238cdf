"""A peer of the HTTP bench: the least that aiohttp can do, a body written to a file, unsealed.

Nothing is checked, framed or flushed; the loop is uvloop, as of our own door.
"""

import os
import sys
from pathlib import Path

import uvloop
from aiohttp import web


def main(folder: Path, port: int) -> None:
    """Take PUT requests at *port* of loopback into *folder*."""

    async def put(request: web.Request) -> web.Response:
        target = folder / request.match_info["name"]
        file = os.open(target, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        try:
            while part := await request.content.readany():
                os.write(file, part)
        finally:
            os.close(file)
        return web.Response(status=201)

    app = web.Application(client_max_size=1 << 50)
    app.router.add_put("/{name}", put)
    loop = uvloop.new_event_loop()
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, loop=loop)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
