"""The commands of the command line, one module each: `add` describes it, and what it sets as `run` does it."""
