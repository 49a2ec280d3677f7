"""The commands of `python -m model_export`: their arguments, and what they call."""
