"""Events: changes of the camera's answer, passed to another program one at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edge_effnet.apps.camera.answers.lines import json_lines
from edge_effnet.apps.camera.engine import Engine
from edge_effnet.apps.camera.frames import Result
from edge_effnet.apps.camera.mailbox import Mailbox

#: Least seconds between the starts of two actions, so that a flickering answer floods nobody.
INTERVAL = 0.5
#: Seconds that the last action may take after the camera has ended.
PATIENCE = 3.0


@dataclass(frozen=True)
class Event:
    """A changed answer: its labels, most likely first; none if the model is unsure.

    ``probability`` is that of the first label, 0 without one. ``file`` is the exported file.
    ``line`` is the frame's line of JSON.
    """

    labels: tuple[str, ...]
    probability: float
    file: str
    line: str


def event_of(result: Result, engines: Sequence[Engine], source: str) -> Event:
    """The event of the first model's answer in ``result``."""
    answer = result.answers[0]
    classifier = engines[answer.model].classifier
    return Event(
        tuple(classifier.card.labels[index] for index in answer.classes),
        float(answer.probabilities[answer.classes[0]]) if answer.classes else 0.0,
        classifier.path,
        next(json_lines(result, engines, source)),
    )


class ActionFailed(Exception):
    """An action did not succeed; the message is the reason, as the end of a sentence."""


class Action(Protocol):
    """What `--on-answer` starts."""

    @property
    def name(self) -> str:
        """Name in messages, without secrets."""

    def check_labels(self, labels: tuple[str, ...]) -> None:
        """Raise `UsageError` for a label that the action cannot take."""

    def run(self, event: Event) -> None:
        """Handle ``event``; returns when done. Raises `ActionFailed`."""

    def cancel(self) -> None:
        """End a running `run` as soon as possible; called from another thread."""


class AnswerEvents:
    """Runs ``action`` in its own thread whenever the answer changes.

    While the action runs, only the newest answer is kept; nothing ever waits for the action. The
    first answer counts as a change. Each reason of failure is passed to ``notify`` once.
    """

    def __init__(self, action: Action, notify: Callable[[str], None]) -> None:
        self._action, self._notify = action, notify
        self._box: Mailbox[Event] = Mailbox()
        self._ending, self._cancelled = threading.Event(), False
        self._last: frozenset[str] | None = None
        self._reasons: set[str] = set()
        self.done = self.failed = 0
        self._thread = threading.Thread(target=self._work, name="on-answer", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Pass ``event`` on, if its labels differ from the last ones; returns at once."""
        labels = frozenset(event.labels)
        if labels != self._last:
            self._last = labels
            self._box.put(event)

    def close(self) -> None:
        """Handle the last answer within `PATIENCE` seconds, then end."""
        self._ending.set()
        self._box.close()
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self._cancelled = True
            self._action.cancel()
            self._notify(
                f"on-answer: {self._action.name} was ended: it took more than {PATIENCE:g} s at "
                "the end"
            )
            self._thread.join(1)

    def as_json(self) -> dict[str, Any]:
        """Plain data for the summary."""
        return {"action": self._action.name, "done": self.done, "failed": self.failed}

    def _work(self) -> None:
        handled: frozenset[str] | None = None
        while (event := self._box.take()) is not None:
            labels = frozenset(event.labels)
            if labels == handled:  # the answer changed back while the action ran
                continue
            handled = labels
            started = time.monotonic()
            try:
                self._action.run(event)
                self.done += 1
            except ActionFailed as error:
                self.failed += 1
                if not self._cancelled:
                    self._say(str(error))
            self._ending.wait(started + INTERVAL - time.monotonic())

    def _say(self, reason: str) -> None:
        if reason not in self._reasons:
            self._reasons.add(reason)
            self._notify(
                f"on-answer: {self._action.name} {reason}; the camera goes on, and the summary "
                "counts further failures"
            )
