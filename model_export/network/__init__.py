"""The U-Net: its layers, loss, training step, checkpoints, conversion to ONNX and quantisation."""
