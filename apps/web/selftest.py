"""A known picture and its logits, with which a page tests a backend before it uses it."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_effnet.calibration.samples.dead_leaves import dead_leaves
from edge_effnet.classifier import Classifier

FILE = "selftest.bin"
#: Largest relative error energy of a backend's logits: 20 dB in float, 14 dB in integers. LiteRT's
#: own kernels are 24 dB apart on an int8 file; a wrong operator gives less than 10 dB.
FLOAT, INTEGER = 0.01, 0.04
_IN_FLOAT = ("fp32", "fp16", "w8")


def record(classifier: Classifier) -> tuple[dict[str, Any], bytes]:
    """The self-test of an opened file.

    Returns:
        Its description for the page: the logits by the native runtime on the CPU, and the largest
        relative error energy. And the known pixels, uint8 [size, size, 3].
    """
    pixels = dead_leaves(1, classifier.card.preprocess.size)[0]
    (logits,) = classifier.runner.run(classifier.tensor(pixels))
    limit = FLOAT if classifier.card.precision in _IN_FLOAT else INTEGER
    described = {"file": FILE, "logits": np.asarray(logits).tolist(), "limit": limit}
    return described, pixels.tobytes()
