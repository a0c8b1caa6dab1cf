"""Page: a view that shows the scenes on a web page, for boards without a screen.

The server runs in its own thread. Each picture is encoded once for all viewers; without viewers it
is not encoded. Slow viewers miss pictures and stalled viewers are disconnected, so that no viewer
delays the camera.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.resources import files as package_files
from typing import TYPE_CHECKING, Any

from edge_effnet.apps.camera import opencv, overlay
from edge_effnet.apps.camera.controls import Controls
from edge_effnet.apps.camera.scene import Scene
from edge_effnet.apps.preview.address import address, directions
from edge_effnet.apps.preview.channel import Channel
from edge_effnet.apps.preview.connections import Waiting, most_waiting, protocol
from edge_effnet.apps.preview.guard import LOOPBACK, Guard
from edge_effnet.errors import CameraError, reason, require

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

#: Pictures per second on the page, and their JPEG quality.
PAGE_FPS, QUALITY = 15.0, 80
#: Bytes of the kernel's send buffer per viewer. A larger buffer would delay the picture of a slow
#: viewer.
SEND_BUFFER = 1 << 18
#: Seconds without progress after which a viewer is disconnected.
STALLED = 15.0
#: Most viewers of the picture, and of the events.
MOST_VIEWERS = 50
_LAST_PORT = 65_535
_TYPES = {"index.html": "text/html", "style.css": "text/css", "script.js": "text/javascript"}
#: Start of each picture in the multipart stream. Chromium shows a picture when the next one's head
#: arrives, so that every picture is sent with the head of the next one. Otherwise each would be
#: shown late by one, and a paused camera's never.
_HEAD = b"--picture\r\nContent-Type: image/jpeg\r\n\r\n"


class Page:
    """Web server of the preview page at ``address``; runs until `close`.

    ``directions`` are sentences on how to see it from here and from another machine.

    Args:
        controls: The session's controls, operated by the page's buttons.
        models: Names of the files to choose from.
        bind: Address to listen on.
        port: Port to listen on.
        token: Access token. Default: a random token, or no token if ``bind`` is a loopback address.

    Raises:
        CameraError: The port is taken.
        MissingExtra: A package that the page needs is not installed.
    """

    def __init__(
        self, controls: Controls, models: Sequence[str], bind: str, port: int, token: str | None
    ) -> None:
        uvicorn = require("uvicorn", "preview")
        require("starlette.applications", "preview")
        self._controls, self._models = controls, list(models)
        self.token = token or (None if bind in LOOPBACK else secrets.token_urlsafe(16))
        self._socket = _listen(bind, port)
        port = int(self._socket.getsockname()[1])
        self.address, self.port = address(bind, port, self.token), port
        self.directions = directions(bind, port, self.token)
        self._pictures: Channel
        self._events: Channel
        self._scene: Scene | None = None
        self._pending = False
        self._last = 0.0
        self.encoded = 0
        # A viewer may disconnect during a response; this is not an error.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        config = uvicorn.Config(
            Guard(self._application(), self.token),
            log_config=None,
            access_log=False,
            lifespan="off",
            http=protocol(Waiting(most_waiting())),
            ws="none",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="page", daemon=True)
        self._thread.start()
        self._started.wait()

    @property
    def viewers(self) -> int:
        """Number of viewers of the picture."""
        return self._pictures.readers

    def show(self, scene: Scene, drawn: Callable[[], Any]) -> None:
        """Publish ``scene`` to the viewers, at most `PAGE_FPS` times per second."""
        self._scene, self._pending = scene, True
        self.poll()

    def poll(self) -> None:
        """Publish the latest scene if it is due, also if a viewer connected after it."""
        now = time.perf_counter()
        scene = self._scene
        if scene is None or not self._pending or now - self._last < 1 / PAGE_FPS:
            return
        if not self._pictures.readers and not self._events.readers:
            return
        self._pending, self._last = False, now
        if self._pictures.readers:
            cv2 = opencv.load()
            options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
            good, data = cv2.imencode(".jpg", overlay.picture(scene), options)
            if good:
                self.encoded += 1
                self._pictures.publish(data.tobytes() + b"\r\n" + _HEAD)
        self._events.publish(f"data: {json.dumps(self._state(scene))}\n\n".encode())

    def close(self) -> None:
        """Stop the server and close all connections."""
        self._pictures.close()
        self._events.close()
        self._server.should_exit = True
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._pictures, self._events = Channel(), Channel()
        self._started.set()
        await self._server.serve(sockets=[self._socket])

    def _state(self, scene: Scene) -> dict[str, Any]:
        controls = self._controls
        return {
            **scene.as_json(),
            "models": self._models,
            "active": list(controls.active),
            "heat": controls.activation,
            "paused": controls.paused,
        }

    def _application(self) -> Starlette:
        from starlette.applications import Starlette
        from starlette.routing import Route

        return Starlette(
            routes=[
                Route("/", self._file("index.html")),
                Route("/style.css", self._file("style.css")),
                Route("/script.js", self._file("script.js")),
                Route("/picture", self._stream("multipart/x-mixed-replace; boundary=picture",
                                               lambda: self._pictures, _HEAD)),
                Route("/events", self._stream("text/event-stream", lambda: self._events)),
                Route("/do/{action}", self._do, methods=["POST"]),
            ]
        )  # fmt: skip

    def _file(self, name: str) -> Callable[[Request], Response]:
        from starlette.responses import Response

        content = package_files("edge_effnet.apps.preview").joinpath(name).read_bytes()
        return lambda request: Response(content, media_type=_TYPES[name])

    def _stream(
        self, kind: str, channel: Callable[[], Channel], start: bytes = b""
    ) -> Callable[[Request], Response]:
        def respond(request: Request) -> Response:
            from starlette.responses import Response

            if channel().readers >= MOST_VIEWERS:
                return Response("too many viewers; close another page\n", status_code=503)
            return _endless(channel(), kind, start)

        return respond

    def _do(self, request: Request) -> Response:
        from starlette.responses import Response

        controls = self._controls
        actions = {
            "pause": controls.pause,
            "next": controls.next_model,
            "compare": controls.compare,
            "heat": controls.toggle_activation,
            "screenshot": controls.ask_screenshot,
        }
        action = request.path_params["action"]
        if action in map(str, range(len(self._models))):
            controls.choose(int(action))
        elif action in actions:
            actions[action]()
        else:
            return Response(status_code=404)
        self._pending = True  # show the change on the page, even while paused
        return Response(status_code=204)


def _endless(channel: Channel, kind: str, start: bytes) -> Response:
    """A streaming response: ``start``, then a channel's values.

    It ends if the viewer disconnects or stalls.
    """
    from starlette.responses import Response

    class Endless(Response):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            headers = [(b"content-type", kind.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            sending = asyncio.ensure_future(_send_all(channel, send, start))
            closings = [
                asyncio.ensure_future(closing) for closing in (_gone(receive), channel.closed())
            ]
            try:
                await asyncio.wait({sending, *closings}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (sending, *closings):
                    task.cancel()
                with suppress(asyncio.CancelledError, TimeoutError, asyncio.TimeoutError):
                    await sending

    return Endless()


async def _send_all(channel: Channel, send: Send, start: bytes) -> None:
    values = channel.values()
    try:
        if start:
            await send({"type": "http.response.body", "body": start, "more_body": True})
        async for value in values:
            message = {"type": "http.response.body", "body": value, "more_body": True}
            await asyncio.wait_for(send(message), STALLED)
        await send({"type": "http.response.body", "body": b""})
    finally:
        await values.aclose()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _listen(bind: str, port: int) -> socket.socket:
    try:
        if not bind or not 0 <= port <= _LAST_PORT:  # getaddrinfo takes a port modulo 65536
            raise ValueError("no such address")
        family, _, _, _, address = socket.getaddrinfo(bind, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # the kernel closes stalled connections
                milliseconds = int(STALLED * 1000)
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            listener.bind(address)
            listener.listen()  # reserves the port; connections queue from now on
        except BaseException:
            listener.close()
            raise
    except (OSError, ValueError) as error:  # ValueError: a name that no address can have
        raise CameraError(
            f"the page cannot be served at {bind} port {port}: {reason(error)}",
            hint="give another bind= or port= (0 takes a free one)",
        ) from error
    return listener
