"""From samples to files that survive a crash: written, sealed, held back, repaired, recovered.

May import `core`, `configuration`, `spool`, `capture`, `signal` and `timing`.
Start with `disk`: the thread that writes; `recovery` is what the next life does with what a crash left.
"""
