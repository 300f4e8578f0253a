"""The promises, tested over the whole registry: one arithmetic, finite, causal, one fingerprint."""
