"""Metadata of OpenVINO's Model API, stored in .onnx and OpenVINO files like the model card."""

from __future__ import annotations

from edge_effnet.card import ModelCard

#: Crop mode -> Model API's ``resize_type``.
_RESIZE_TYPES = {"center": "crop", "squash": "standard", "border": "fit_to_window_letterbox"}


def model_info(card: ModelCard) -> dict[str, str]:
    """Metadata that configures ClassificationModel of OpenVINO's Model API."""
    pre = card.preprocess
    info = {
        "model_type": "Classification",
        "labels": " ".join(label.replace(" ", "_") for label in card.labels),
        "resize_type": _RESIZE_TYPES[pre.crop_mode],
        "interpolation_mode": "CUBIC" if pre.interpolation.endswith("bicubic") else "LINEAR",
        "reverse_input_channels": "YES",
        "topk": "5",
    }
    if card.multi_label:
        info["multilabel"] = "True"
    elif card.output_activation != "softmax":
        del info["model_type"]  # a ClassificationModel takes the softmax of one output: always 1
    if card.input == "normalised":
        info["mean_values"] = " ".join(f"{value:g}" for value in pre.mean)
        info["scale_values"] = " ".join(f"{value:g}" for value in pre.std)
    return {f"model_info {key}": value for key, value in info.items()}
