"""OpenVINO Model API's ClassificationModel on photos; runs without edge-effnet.

    ask_model_api.py FILE PHOTO...

prints [[label, index, probability], ...] a photo. The model configures itself from the file.
"""

import json
import sys

import cv2
from model_api.adapters import OpenvinoAdapter, create_core
from model_api.models import ClassificationModel, Model

file, *photos = sys.argv[1:]
exact = {"INFERENCE_PRECISION_HINT": "f32"}  # unset, a CPU that has bf16 computes in it
adapter = OpenvinoAdapter(create_core(), file, device="CPU", plugin_config=exact)
model = Model.create_model(adapter)
if not isinstance(model, ClassificationModel):
    sys.exit(f"model_type made a {type(model).__name__}")
rows = [
    [[label.name, int(label.id), float(label.confidence)] for label in model(image).top_labels]
    for image in map(cv2.imread, photos)
]
print(json.dumps(rows))
