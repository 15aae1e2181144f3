"""Answers and messages as people read them."""
