"""`imhearing doctor`: tries each part of the node, and says how to fix what fails."""
