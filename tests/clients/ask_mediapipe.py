"""MediaPipe Tasks' ImageClassifier on photos; runs where mediapipe is, without edge-effnet.

    ask_mediapipe.py [--centre SHARE] FILE PHOTO...

prints [[label, index, score], ...] a photo. ``--centre`` looks at the central square that covers
this share of the short side, by MediaPipe's own region of interest and resizing.
"""

import argparse
import json

import mediapipe
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.components.containers.rect import RectF
from mediapipe.tasks.python.vision import ImageClassifier, ImageClassifierOptions
from mediapipe.tasks.python.vision.core.image_processing_options import ImageProcessingOptions


def centre(image: mediapipe.Image, share: float) -> RectF:
    """The central square in fractions of the sides."""
    side = min(image.width, image.height) * share
    across, down = side / image.width / 2, side / image.height / 2
    return RectF(left=0.5 - across, top=0.5 - down, right=0.5 + across, bottom=0.5 + down)


parser = argparse.ArgumentParser()
parser.add_argument("--centre", type=float)
parser.add_argument("file")
parser.add_argument("photos", nargs="+")
given = parser.parse_args()

options = ImageClassifierOptions(BaseOptions(model_asset_path=given.file), max_results=5)
rows = []
with ImageClassifier.create_from_options(options) as classifier:
    for photo in given.photos:
        image = mediapipe.Image.create_from_file(photo)
        region = ImageProcessingOptions(centre(image, given.centre)) if given.centre else None
        found = classifier.classify(image, region).classifications[0].categories
        rows.append([[each.category_name, each.index, each.score] for each in found])
print(json.dumps(rows))
