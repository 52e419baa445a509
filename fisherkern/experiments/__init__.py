"""The papers' experiments, recomputed."""
