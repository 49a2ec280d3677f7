"""The Python API: what `import lungseg` offers, a thin layer over the one pipeline."""
