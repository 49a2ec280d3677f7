"""Check an installation, a service over HTTP, or a stack on AWS."""
