"""Checks of a file's headers before a decoder reads it: sizes, number of parts, lengths."""
