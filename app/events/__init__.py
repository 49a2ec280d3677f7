"""One file for each source of events that tell of images in buckets. Each has `infer(event)`, whether an event is one of
its own, and `handle(event, run)`, which does the images with ``run`` and answers as the source wants to be answered."""
