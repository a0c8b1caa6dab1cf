"""A generated photo for end-to-end latency: smooth colours and fine noise, as in real photos."""

from __future__ import annotations

from pathlib import Path


def write_photo(path: Path, size: tuple[int, int] = (1280, 960)) -> Path:
    """Write a JPEG of ``size`` (width, height) pixels to ``path``; the content is seeded."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    patches = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(patches.resize(size, Image.Resampling.BICUBIC), np.float32)
    noisy = smooth + rng.normal(0, 6, smooth.shape)
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path, "JPEG", quality=90)
    return path
