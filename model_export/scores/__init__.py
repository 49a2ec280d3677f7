"""How well masks match their targets: metrics of one image, and scores of many."""
