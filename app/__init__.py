"""Lung segmentation of frontal chest radiographs: decode a film, run the network, return the mask."""

__version__ = "0.1.0"
