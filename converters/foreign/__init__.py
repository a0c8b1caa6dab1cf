"""Foreign networks: image classifiers from .onnx files, exported to TFLite, ONNX and OpenVINO.

The layers are unchanged; only shape arithmetic is folded. Each exported file gets a card, and its
logits are compared with the logits of the .onnx file. NNCF or ONNX Runtime quantizes the graph for
ONNX and OpenVINO. onnx2tf converts to TFLite, and ai-edge-quantizer quantizes the TFLite file.
The entry point is
`edge_effnet.converters.foreign.export.export`.
"""
