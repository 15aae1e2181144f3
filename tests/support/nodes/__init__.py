"""Nodes: whole, broken in one place, with a query service only, and the systemd that starts them."""
