"""The action of ``--on-answer``: a program or a URL."""

from __future__ import annotations

import re

from edge_effnet.apps.camera.answers.program import Program
from edge_effnet.apps.camera.answers.webhook import Webhook
from edge_effnet.errors import UsageError

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


def action_of(text: str) -> Program | Webhook:
    """The action for ``text``: a URL to post to, otherwise a command to run.

    Raises:
        UsageError: The URL is not valid, there is no such program, or the command needs a shell.
    """
    scheme = _SCHEME.match(text.strip())
    if scheme is None:
        return Program(text)
    if scheme[1].lower() not in ("http", "https"):
        raise UsageError(
            f"{scheme[1]}:// is not supported", hint="give on_answer='http://HOST:PORT/PATH'"
        )
    return Webhook(text.strip())
