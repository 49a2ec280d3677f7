"""A deployed service from a workstation: images sent to it, buckets done by it, and whether it is set up right.

The service itself imports nothing from here.
"""
