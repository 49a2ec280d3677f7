"""Sweeps: many trainings with different settings, and reports on them."""
