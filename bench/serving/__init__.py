"""What `make bench-serve` measures: tick to signal in process, and requests over loopback."""
