"""What goes into which archive, and its exact bytes."""
