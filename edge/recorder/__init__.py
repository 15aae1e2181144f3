"""From sound card to finished chunk."""

import os

# Before NumPy is imported: its matrices here are small, and each thread of OpenBLAS costs memory and CPU
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
