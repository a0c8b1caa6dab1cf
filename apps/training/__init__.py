"""Training: from photos of the user's classes to a checkpoint of the family.

`train.train` runs the stages of `stages` in order. A `Run` is the folder that holds their results.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_effnet.apps.training.run import Run
    from edge_effnet.apps.training.settings import Settings

__all__ = ["Run", "Settings"]

#: Public name -> its module, imported at the first use.
_MODULES = {"Run": "run", "Settings": "settings"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
