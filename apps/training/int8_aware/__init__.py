"""Int8-aware training: a calibrated plan's weights, biases and scales, trained end to end."""

from edge_effnet.errors import require

require("torch", "train")
