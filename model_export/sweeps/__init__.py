"""Many trainings with different settings, and what they show."""
