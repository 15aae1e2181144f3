"""What `imhearing doctor` tries: one room for each part of a node, one function for each check."""
