"""The U-Net: its layers, loss, training step, checkpoints and quantisation."""
