"""The service on AWS: images in buckets, their events, jobs, and a model in a bucket."""
