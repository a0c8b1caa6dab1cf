"""Image classifiers outside the family, from .onnx files: to TFLite, ONNX and OpenVINO.

The graph stays what its author made of it; what is added is the card, what is checked is that every
file answers as the .onnx does. TFLite goes through onnx2tf, its int8 through ai-edge-quantizer;
OpenVINO reads ONNX itself. `edge_effnet.converters.foreign.export.export` is the verb.
"""
