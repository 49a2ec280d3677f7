"""From a radiograph to its result: the one pipeline that the CLI, the HTTP API and Lambda call."""
