"""When each frame was, and what is missing."""
