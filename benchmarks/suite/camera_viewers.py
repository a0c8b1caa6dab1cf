"""Process that connects viewers to the preview page for the camera benchmark. Argument: PORT."""

from __future__ import annotations

import socket
import sys
import threading
import time

VIEWERS, STALLED = 20, 5
_SECONDS = 60.0


def watch(port: int) -> None:
    """Open `VIEWERS` connections to the page for a minute; `STALLED` of them never read."""
    connections = []
    for _ in range(VIEWERS):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(b"GET /picture HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        connections.append(connection)

    def read(connection: socket.socket) -> None:
        while connection.recv(1 << 16):
            pass

    for connection in connections[STALLED:]:
        threading.Thread(target=read, args=(connection,), daemon=True).start()
    time.sleep(_SECONDS)


if __name__ == "__main__":
    watch(int(sys.argv[1]))
