"""The command line itself: options, help, times, output, logs."""
