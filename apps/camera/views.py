"""Interface of views that display a `Scene`, and the window (page: `edge_effnet.apps.preview`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_effnet.apps.camera import opencv
from edge_effnet.apps.camera.controls import Controls
from edge_effnet.apps.camera.scene import Scene

Picture = Callable[[], NDArray[np.uint8]]
TITLE = "edge-effnet"
_ESCAPE = 27


class View(Protocol):
    """A display of scenes; all calls come from the main thread."""

    def show(self, scene: Scene, drawn: Picture) -> None:
        """Show ``scene``; ``drawn`` returns its picture with overlay, drawn once for all views."""

    def poll(self) -> None:
        """Handle keys and other events; must be called at least ten times per second."""

    def close(self) -> None:
        """Close the view."""


def key_actions(controls: Controls) -> dict[str, Callable[[], None]]:
    """Key of the window -> action."""
    return {
        " ": controls.pause,
        "p": controls.pause,
        "n": controls.next_model,
        "b": controls.compare,
        "c": controls.toggle_activation,
        "s": controls.ask_screenshot,
        "q": lambda: controls.stop("quit"),
        chr(_ESCAPE): lambda: controls.stop("quit"),
    }


class Window:
    """An OpenCV window that handles keys."""

    def __init__(self, controls: Controls) -> None:
        self._controls, self._actions = controls, key_actions(controls)
        self._cv2 = opencv.load()
        self._shown = False

    def show(self, scene: Scene, drawn: Picture) -> None:
        """Show ``scene``; the first scene sets the window's size, which the user may change."""
        image = drawn()
        if not self._shown:
            flags = self._cv2.WINDOW_NORMAL | self._cv2.WINDOW_KEEPRATIO
            self._cv2.namedWindow(TITLE, flags | getattr(self._cv2, "WINDOW_GUI_NORMAL", 0))
            self._cv2.resizeWindow(TITLE, image.shape[1], image.shape[0])
            self._shown = True
        self._cv2.imshow(TITLE, image)

    def poll(self) -> None:
        """Handle the pressed keys; stop the session if the user closed the window."""
        if not self._shown:
            return
        key = self._cv2.waitKey(1) & 0xFF
        action = self._actions.get(chr(key).lower())
        if action is not None and key != 0xFF:
            action()
        if self._cv2.getWindowProperty(TITLE, self._cv2.WND_PROP_VISIBLE) < 1:
            self._controls.stop("window closed")

    def close(self) -> None:
        """Close the window."""
        if self._shown:
            self._cv2.destroyAllWindows()
            self._cv2.waitKey(1)
