"""What became of a finished life. Imports nothing of the product. Start with judge.py."""
