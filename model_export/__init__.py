"""Offline program: prepare the public films, train a U-Net, evaluate it, export it to ONNX."""
