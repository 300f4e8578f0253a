"""Recorded fingerprints and output digests: what changes them is a new numerics version, on purpose."""
