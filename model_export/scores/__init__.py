"""Scores of masks against their targets: metrics of one image, and scores of many."""
