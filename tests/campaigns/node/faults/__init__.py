"""The faults: what each kind does to the node. Start with injectors.py."""
