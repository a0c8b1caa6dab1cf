"""Channels of released checkpoints by width."""

from __future__ import annotations

#: Stem, the seven stages, head, as in the released checkpoints of B2, B3, B4 and B7.
CHANNELS = (32, 16, 24, 40, 80, 112, 192, 320, 1280)
SCALED = {
    1.1: (32, 16, 24, 48, 88, 120, 208, 352, 1408),
    1.2: (40, 24, 32, 48, 96, 136, 232, 384, 1536),
    1.4: (48, 24, 32, 56, 112, 160, 272, 448, 1792),
    2.0: (64, 32, 48, 80, 160, 224, 384, 640, 2560),
}
