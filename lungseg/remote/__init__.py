"""Client of a deployed service: send one image, or start and follow a backfill of a bucket.

The service itself imports nothing from here.
"""
