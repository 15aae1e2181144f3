"""A real S3 server, the proxies in front of it, and what is uploaded to it."""
