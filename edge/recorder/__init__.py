"""From sound card to finished chunk: the recorder process.

May import `core`, `configuration`, `messaging`, `spool` and the packages below it.
Start with `service`, which wires it; then `recorder` and `source_recorder` follow the sound.
"""

import os

# Before NumPy is imported: its matrices here are small, and each thread of OpenBLAS costs memory and CPU
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
