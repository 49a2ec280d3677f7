"""What AWS adds: images in buckets, the events that tell of them, jobs, and a model that lies in a bucket."""
