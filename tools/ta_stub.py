"""Writes python/qtfeat/ta.pyi, the types of `qtfeat.ta`, from the catalogue.

`python tools/ta_stub.py` writes it, `--check` fails when the file is not what would be written.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from qtfeat import FeatureSet, FeatureSpecError
from qtfeat._indicators import NAMES, columns_of, params_of, rows_of

TARGET = Path(__file__).resolve().parent.parent / "python" / "qtfeat" / "ta.pyi"

HEAD = '''\
# Written by tools/ta_stub.py from the catalogue: do not edit.
# ruff: noqa: A002, E501, PYI021 - `open` is the name of the price; the docstrings are what an editor shows
"""One function per indicator: bar columns, then parameters. See `qtfeat.catalog()`."""

from typing import Any, TypeVar

from qtfeat.features import Numerics, OnBad

_A = TypeVar("_A")
"""A NumPy array, or a pandas or polars series; the result is of the same kind, in float64."""

'''


def type_of(name: str, param: str, default: Any) -> str:
    """The type of a parameter. The catalogue writes 2 for a number that may have a fraction, so it is asked."""
    if isinstance(default, bool | str):
        return type(default).__name__
    try:
        FeatureSet([f"{name}({param}=2.5)"])
    except FeatureSpecError:
        return "int"
    return "float"


def literal(default: Any) -> str:
    """A default as Python text, in the quotes that the formatter wants."""
    return f'"{default}"' if isinstance(default, str) else repr(default)


def stub(name: str) -> str:
    """The stub of one indicator."""
    rows, columns = rows_of(name), columns_of(name)
    first, *others = columns
    args = [f"{first}: _A", *(f"{c}: Any" for c in others)]
    args += [f"{p}: {type_of(name, p, d)} = {literal(d)}" for p, d in params_of(name).items()]
    args += ["*", 'numerics: Numerics = "safe"', 'on_bad: OnBad = "raise"', "time_unit: str | None = None"]
    result = "_A" if len(rows) == 1 else "dict[str, _A]"
    outputs = "" if len(rows) == 1 else f" Outputs: {', '.join(row['output'] for row in rows)}."
    lines = "".join(f"    {arg},\n" for arg in args)
    return f'def {name}(\n{lines}) -> {result}:\n    """{rows[0]["formula"]}.{outputs}"""\n\n'


def text() -> str:
    """The whole file."""
    names = "".join(f'    "{name}",\n' for name in NAMES)
    return f"{HEAD}__all__ = [\n{names}]\n\n" + "".join(map(stub, NAMES)).rstrip("\n") + "\n"


def main() -> int:
    """Writes or checks the file; returns the exit code."""
    wanted = text()
    if "--check" in sys.argv[1:]:
        if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == wanted:
            return 0
        print(f"{TARGET.name} is not what the catalogue says: run python tools/ta_stub.py", file=sys.stderr)
        return 1
    TARGET.write_text(wanted, encoding="utf-8")
    print(f"wrote {TARGET} ({len(NAMES)} indicators)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
