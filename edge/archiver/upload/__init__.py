"""From plan to verified object."""
