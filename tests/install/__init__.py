"""What runs on a booted node, most of it shell, and the table of rights made from it."""
