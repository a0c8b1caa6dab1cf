"""Supported boards of bundles, with pinned package versions per board.

The pinned versions are those of the tests (constraints.txt; aarch64 on an emulated Raspberry Pi 4,
tests/pi). They support Python 3.11 and newer; on armv7l only 3.11.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_effnet.errors import UsageError

#: Requirements of the base install, without numpy. The runtimes need different versions of numpy.
_BASE = (
    "click==8.5.1",
    "markdown-it-py==4.3.0",
    "mdurl==0.1.2",
    "pygments==2.21.0",
    "rich==15.0.0",
    "safetensors==0.8.0",
)
_NEW = ("pillow==13.0.0", "packaging==26.3", "protobuf==7.36.2", "flatbuffers==25.12.19")
_TYPING = "typing_extensions==4.16.0"
_LITERT = (
    "ai-edge-litert==2.3.0",
    "backports.strenum==1.2.8",
    "ml_dtypes==0.6.0",
    "tqdm==4.70.1",
    _TYPING,
)
_ONNX = ("onnxruntime==1.31.1",)
#: OpenCV without windows (headless), and the web server of the preview page.
_CAMERA = (
    "anyio==4.16.0",
    "h11==0.16.0",
    "idna==3.20",
    "opencv-python-headless==5.0.0.93",
    "starlette==1.10.0",
    _TYPING,
    "uvicorn==0.54.0",
)


@dataclass(frozen=True)
class Board:
    """One kind of board.

    Attributes:
        runtimes: Requirements of the runtime, by suffix of the model file.
        camera: Requirements of ``--with camera``; empty if the board has no wheels for them.
        system: Debian packages that are needed because PyPI has no wheels.
    """

    name: str
    base: tuple[str, ...]
    runtimes: dict[str, tuple[str, ...]]
    camera: tuple[str, ...] = ()
    system: tuple[str, ...] = ()

    def pins(self, suffixes: set[str], *, camera: bool = False) -> list[str]:
        """Sorted requirement lines for files with these ``suffixes``, and for the camera.

        Raises:
            UsageError: The board has no runtime for a suffix, no numpy version for all runtimes, or
                no camera packages.
        """
        lines = {*self.base}
        for suffix in sorted(suffixes):
            if suffix not in self.runtimes:
                raise UsageError(
                    f"no runtime for {suffix} files exists for {self.name}; it runs "
                    f"{' and '.join(sorted(self.runtimes))}"
                )
            lines |= {*self.runtimes[suffix]}
        if camera and not self.camera:
            boards = " and ".join(board.name for board in BOARDS.values() if board.camera)
            raise UsageError(
                f"OpenCV has no wheels for {self.name}, so a bundle with the camera is for "
                f"{boards}; install a 64-bit system on the board, or leave the camera out"
            )
        lines |= {*self.camera} if camera else set()
        names = [line.split("==")[0] for line in lines]
        if len(names) != len(set(names)):
            raise UsageError(
                f"on {self.name} the runtimes of {' and '.join(sorted(suffixes))} files need "
                "different numpy versions; make one bundle for each"
            )
        return sorted(lines)


_NUMPY = ("numpy==2.4.6",)
BOARDS = {
    board.name: board
    for board in (
        Board(
            "linux-aarch64",
            (*_BASE, *_NEW),
            {
                ".tflite": (*_LITERT, *_NUMPY),
                ".onnx": (*_ONNX, *_NUMPY),
                # OpenVINO 2026.4 fails on int8 models on the Cortex-A72 of a Pi 4 ("object is not
                # initialized"). OpenVINO 2025.2 runs int8 models and needs numpy below 2.3.
                ".xml": ("openvino==2025.2.0", "openvino-telemetry==2025.2.0", "numpy==2.2.6"),
            },
            camera=_CAMERA,
        ),
        Board(
            "linux-armv7l",
            _BASE,
            {".tflite": ("tflite-runtime==2.14.0",)},
            system=("python3-numpy", "python3-pil"),
        ),
        Board(
            "linux-x86_64",
            (*_BASE, *_NEW),
            {
                ".tflite": (*_LITERT, *_NUMPY),
                ".onnx": (*_ONNX, *_NUMPY),
                ".xml": ("openvino==2026.4.1", "openvino-telemetry==2025.2.0", *_NUMPY),
            },
            camera=_CAMERA,
        ),
    )
}


def board_of(name: str) -> Board:
    """The board with this name; raises `UsageError` for an unknown name."""
    if name not in BOARDS:
        raise UsageError(f"there is no board {name!r}; choose one of {', '.join(BOARDS)}")
    return BOARDS[name]


def suffixes_of(files: list[Path]) -> set[str]:
    """The set of suffixes of model files."""
    return {file.suffix.lower() for file in files}
