"""The gates: what a model must reach before it may go live. Pure comparisons; nothing is trained or measured here."""

from __future__ import annotations

from qtfeat.gates.evidence import Evidence
from qtfeat.gates.limits import Limits
from qtfeat.gates.rules import Allowed
from qtfeat.gates.verdicts import Verdict, Verdicts, check

__all__ = ["Allowed", "Evidence", "Limits", "Verdict", "Verdicts", "check"]
