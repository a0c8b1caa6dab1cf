"""Controls: what the user may change while the camera runs; safe to use from any thread."""

from __future__ import annotations

import threading


class Controls:
    """The state that keys and the page's buttons change, and that all threads read."""

    def __init__(
        self, models: int, *, side_by_side: bool = False, activation: bool = False
    ) -> None:
        self._models = models
        self._lock = threading.Lock()
        self._screenshots = 0
        self.model = 0
        self.side_by_side = side_by_side and models > 1
        self.activation = activation
        self.stopping = threading.Event()
        self.running = threading.Event()  # cleared while paused
        self.running.set()
        self.reason = ""

    @property
    def active(self) -> tuple[int, ...]:
        """Indices of the models that run."""
        with self._lock:
            return tuple(range(self._models)) if self.side_by_side else (self.model,)

    @property
    def paused(self) -> bool:
        """Whether capture and inference rest."""
        return not self.running.is_set()

    def pause(self) -> None:
        """Rest, or go on."""
        with self._lock:
            if self.paused:
                self.running.set()
            else:
                self.running.clear()

    def next_model(self) -> None:
        """Switch to the next model; from side by side, to the first alone."""
        with self._lock:
            self.model = 0 if self.side_by_side else (self.model + 1) % self._models
            self.side_by_side = False

    def choose(self, model: int) -> None:
        """Switch to ``model``; one that does not exist is ignored."""
        with self._lock:
            if 0 <= model < self._models:
                self.model, self.side_by_side = model, False

    def compare(self) -> None:
        """All models side by side, or one alone."""
        with self._lock:
            self.side_by_side = not self.side_by_side and self._models > 1

    def toggle_activation(self) -> None:
        """Class activation map on or off."""
        with self._lock:
            self.activation = not self.activation

    def end_activation(self) -> bool:
        """Class activation map off; whether it was on."""
        with self._lock:
            was, self.activation = self.activation, False
            return was

    def ask_screenshot(self) -> None:
        """The picture that is shown next will be saved."""
        with self._lock:
            self._screenshots += 1

    def take_screenshot(self) -> bool:
        """Whether one is asked for; asking twice gives one."""
        with self._lock:
            asked, self._screenshots = self._screenshots > 0, 0
            return asked

    def stop(self, reason: str) -> None:
        """End everything; the first ``reason`` stays."""
        with self._lock:
            self.reason = self.reason or reason
        self.stopping.set()
        self.running.set()
