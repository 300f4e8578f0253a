"""From closed bars to gated signals: the engine, its policy, and what carries it over HTTP and Redis."""

from qtfeat.serve.engine import Engine
from qtfeat.serve.policy import Policy
from qtfeat.serve.signal import Signal

__all__ = ["Engine", "Policy", "Signal"]
