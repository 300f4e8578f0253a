"""Write the golden files anew: `.venv/bin/python tests/golden/regenerate.py`.

Do this only for a change of numerics that is meant: raise the numerics version of the engine with it, so that models
trained on the old features are refused, and say in CHANGELOG.md what changed.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(FOLDER.parent))

import numpy as np  # noqa: E402

import qtfeat as qf  # noqa: E402
from contract.specs import PROFILES, SHIPPED, everything  # noqa: E402
from golden.bars import golden_bars  # noqa: E402

FINGERPRINTS = FOLDER / "fingerprints.json"
DIGESTS = FOLDER / "digests.json"


def fingerprints() -> dict[str, dict[str, str]]:
    """Fingerprint of each shipped set in each profile."""
    return {
        name: {profile: qf.FeatureSet.load(name, numerics=profile).fingerprint for profile in PROFILES}
        for name in SHIPPED
    }


def digests() -> dict[str, Any]:
    """SHA-256 of the little-endian float64 bytes of every column of the contract, by profile and canonical spec."""
    out: dict[str, Any] = {"bars": {}, "features": {}}
    bars = golden_bars()
    for name, values in bars.items():
        out["bars"][name] = _sha256(values.astype(np.int64) if name == "time" else values)
    for profile in PROFILES:
        fs = everything(profile)
        table = qf.compute(bars, fs, time="time", threads=1)
        specs = [row["spec"] for row in fs.describe()]
        out["features"][profile] = {
            spec: _sha256(table[column]) for spec, column in zip(specs, fs.columns, strict=True)
        }
    return out


def _sha256(values: np.ndarray) -> str:
    little = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"))
    return hashlib.sha256(little.tobytes()).hexdigest()


def main() -> None:
    """Write both files."""
    for path, content in ((FINGERPRINTS, fingerprints()), (DIGESTS, digests())):
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
