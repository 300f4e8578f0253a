"""The small JSON files of a model, read without trust: the format number, and errors that name the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from qtfeat import _strict_json
from qtfeat.errors import RegistryError

FORMAT = 1

_T = TypeVar("_T")


def checked(name: str, data: bytes, parse: Callable[[dict[str, Any]], _T]) -> _T:
    """Parse a JSON object of this format with `parse`; whatever is wrong with it becomes an error that names the file.

    Raises:
        RegistryError: too large, not JSON, another format, or `parse` met a missing key, a wrong type or value.
    """
    try:
        return parse(_of_format(_strict_json.parse(data)))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RegistryError(f"{name}: {type(error).__name__}: {error}") from error


def floats(values: Any, shape: tuple[int, ...] | None) -> npt.NDArray[np.float64]:
    """Return JSON numbers as an array of that shape (None: one-dimensional).

    Raises:
        ValueError: text, truth values, NaN or infinities, or another shape.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "if" or (array.ndim != 1 if shape is None else array.shape != shape):
        raise ValueError(f"numbers of shape {shape or '(k,)'} are expected, found {array.dtype} {array.shape}")
    out = array.astype(np.float64)
    if not np.isfinite(out).all():
        raise ValueError("a value is not finite")
    return out


def _of_format(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict) or type(found.get("format")) is not int or found["format"] != FORMAT:
        raise ValueError(f"format {FORMAT} is expected")
    return found
