"""What is measured in samples."""
