"""One module per event source. Each has `infer(event)`, which tells whether an event is its own, and
`handle(event, invocation)`, which processes the images and returns what the source expects.
"""
