"""Benchmarks: this library against its peers, outputs compared before anything is timed."""
