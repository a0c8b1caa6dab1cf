"""Foreign networks: image classifiers from .onnx files, to TFLite, ONNX and OpenVINO.

The graph is unchanged. Each file gets a card, and its logits are compared with those of the .onnx
file. TFLite files are converted by onnx2tf and quantized by ai-edge-quantizer; OpenVINO reads ONNX
itself. The entry point is `edge_effnet.converters.foreign.export.export`.
"""
