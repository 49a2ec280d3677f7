"""One file for each source of events that tell of films in buckets. Each has `infer(event)`, whether an event is one of
its own, and `handle(event, run)`, which does the films with ``run`` and answers as the source wants to be answered."""
