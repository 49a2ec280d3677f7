"""The view network: it recognises rotated, mirrored and inverted images, and frontal chest X-rays."""
