"""Fewer than three files because starting a broker and an S3 server is all that the package does."""
