"""Foreign networks: image classifiers from .onnx files, exported to TFLite, ONNX and OpenVINO.

Each exported file gets a card, and its logits are compared with those of the .onnx file. If this
package knows all layers (`graph`), it writes the TFLite files itself; otherwise onnx2tf does. Float
ONNX and OpenVINO files are copies of the graph with folded shape arithmetic. int8 files are
quantized by each installed quantizer, and by ours if it knows all layers. The most accurate file is
kept (`choice`). The entry point is `edge_effnet.converters.foreign.export.export`.
"""
