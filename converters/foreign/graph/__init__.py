"""Foreign graphs as this package's `Graph`: operators of ONNX -> nodes with weights.

The entry point is `edge_effnet.converters.foreign.graph.reader.read_model`.
"""
