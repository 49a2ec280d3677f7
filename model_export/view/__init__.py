"""The network that says how an image is rotated, and whether it is a frontal chest radiograph at all."""
