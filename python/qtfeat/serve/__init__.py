"""From closed bars to gated signals: the engine, its policy, and what carries it over HTTP and Redis."""

try:
    import msgspec  # noqa: F401 (asked first, so that what is missing is named)
except ImportError as error:
    raise ImportError('serving needs msgspec and more: pip install "qtfeat[serve]"', name="msgspec") from error

from qtfeat.serve.engine import Engine
from qtfeat.serve.policy import Policy
from qtfeat.serve.signal import Signal

__all__ = ["Engine", "Policy", "Signal"]
