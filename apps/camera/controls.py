"""Controls of the running camera, safe to use from any thread."""

from __future__ import annotations

import threading


class Controls:
    """State that all threads read; keys and the preview page's buttons change it."""

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
        self.stop_cause = ""

    @property
    def active(self) -> tuple[int, ...]:
        """Indices of the running models."""
        with self._lock:
            return tuple(range(self._models)) if self.side_by_side else (self.model,)

    @property
    def paused(self) -> bool:
        """Whether capture and inference are paused."""
        return not self.running.is_set()

    def pause(self) -> None:
        """Toggle between paused and running."""
        with self._lock:
            if self.paused:
                self.running.set()
            else:
                self.running.clear()

    def next_model(self) -> None:
        """Switch to the next model; in side-by-side mode, to the first model."""
        with self._lock:
            self.model = 0 if self.side_by_side else (self.model + 1) % self._models
            self.side_by_side = False

    def choose(self, model: int) -> None:
        """Switch to ``model``; an index out of range is ignored."""
        with self._lock:
            if 0 <= model < self._models:
                self.model, self.side_by_side = model, False

    def compare(self) -> None:
        """Toggle between all models side by side and one model."""
        with self._lock:
            self.side_by_side = not self.side_by_side and self._models > 1

    def toggle_activation(self) -> None:
        """Toggle the class activation map."""
        with self._lock:
            self.activation = not self.activation

    def disable_activation(self) -> bool:
        """Turn the class activation map off; returns whether it was on."""
        with self._lock:
            was, self.activation = self.activation, False
            return was

    def ask_screenshot(self) -> None:
        """Request that the next shown picture is saved."""
        with self._lock:
            self._screenshots += 1

    def take_screenshot(self) -> bool:
        """Whether a screenshot was requested; clears the request."""
        with self._lock:
            asked, self._screenshots = self._screenshots > 0, 0
            return asked

    def stop(self, cause: str) -> None:
        """Stop the session; only the first ``cause`` is stored."""
        with self._lock:
            self.stop_cause = self.stop_cause or cause
        self.stopping.set()
        self.running.set()
