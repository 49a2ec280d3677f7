"""Images in S3: what is read, what is written, and how a job is stored."""
