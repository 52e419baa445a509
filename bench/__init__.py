"""Benchmarks: `python -m pytest bench`; `python -m bench` lists what measures the documents."""

import os

# The peers' own threads would sit on the cores that the two sides share. This must come before
# NumPy is imported; products as small as theirs run on one thread anyway.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
