"""Foreign networks: image classifiers from .onnx files, exported to TFLite, ONNX and OpenVINO.

The graph is unchanged. Each exported file gets a card, and its logits are compared with the logits
of the .onnx file. onnx2tf converts to TFLite, and ai-edge-quantizer quantizes the TFLite file.
OpenVINO imports the .onnx file. The entry point is
`edge_effnet.converters.foreign.export.export`.
"""
