"""What every package may use: errors, instants, JSON, values, ids, atomic files, the kernel's clock, systemd."""
