"""A URL that the changed answer is posted to as JSON."""

from __future__ import annotations

import base64
import http.client
import threading
from urllib import error, request
from urllib.parse import SplitResult, unquote, urlsplit

from edge_effnet.apps.camera.answers.events import ActionFailed, Event
from edge_effnet.errors import UsageError
from edge_effnet.version import VERSION

#: Seconds to wait for a response.
TIMEOUT = 5.0
#: Seconds between the attempts. A refused, slow or failing server is asked once more after each.
WAITS = (0.5, 1.0)
#: Status codes that may pass with time: too many requests, and failures of a server or proxy.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class _NoRedirect(request.HTTPRedirectHandler):
    """Reports redirects: urllib would repeat a POST as a GET without its content."""

    def redirect_request(self, *arguments: object) -> None:
        return None


class Webhook:
    """Posts the frame's line of JSON to an http or https address.

    Args:
        url: The address; a user and password in it are sent as basic authentication.

    Raises:
        UsageError: The address is not valid.
    """

    def __init__(self, url: str) -> None:
        parts = _checked(url)
        host = parts.netloc.rpartition("@")[2]
        self._url = parts._replace(netloc=host, fragment="").geturl()
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": f"edge-effnet/{VERSION}",
        }
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            token = base64.b64encode(pair.encode()).decode()
            self._headers["Authorization"] = f"Basic {token}"
        self.name = f"{parts.scheme}://{host}"  # path and query may hold secrets
        self._cancelled = threading.Event()
        self._opener = request.build_opener(_NoRedirect)

    def check_labels(self, labels: tuple[str, ...]) -> None:
        """Accept all labels: JSON can hold them."""

    def run(self, event: Event) -> None:
        """Post ``event``, at most once more after each of `WAITS`."""
        for wait in (*WAITS, None):
            try:
                self._post(event.line.encode())
                return
            except ActionFailed:
                raise
            except (OSError, http.client.HTTPException) as failure:
                if wait is None or self._cancelled.wait(wait):
                    raise ActionFailed(_reason(failure)) from failure

    def cancel(self) -> None:
        """Make no further attempt."""
        self._cancelled.set()

    def _post(self, body: bytes) -> None:
        posted = request.Request(self._url, body, self._headers, method="POST")  # noqa: S310
        try:
            self._opener.open(posted, timeout=TIMEOUT).close()
        except error.HTTPError as failure:
            with failure:
                if failure.code not in _PASSING:
                    raise ActionFailed(_refusal(failure)) from failure
                raise


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        valid = bool(parts.hostname) and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:
        valid = False
    if not valid:
        raise UsageError(f"{url!r} is no address", hint="give on_answer='http://HOST:PORT/PATH'")
    return parts


def _refusal(failure: error.HTTPError) -> str:
    target = failure.headers.get("Location")
    if 300 <= failure.code < 400 and target:
        return f"redirects to {target.split('?')[0]}: give that address"
    return f"refuses the answer: {failure.code} {failure.reason}".rstrip()


def _reason(failure: Exception) -> str:
    if isinstance(failure, error.HTTPError):
        return f"fails: {failure.code} {failure.reason}".rstrip()
    cause = failure.reason if isinstance(failure, error.URLError) else failure
    if isinstance(cause, TimeoutError):
        return f"does not respond within {TIMEOUT:g} s"
    if isinstance(cause, ConnectionRefusedError):
        return "refuses the connection: no server listens there"
    if isinstance(cause, http.client.HTTPException):
        return f"does not speak HTTP ({type(cause).__name__})"
    return f"cannot be reached: {getattr(cause, 'strerror', None) or cause}"
