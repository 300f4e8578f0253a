"""Trade ids that were seen, in little memory."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field


@dataclass(slots=True)
class Seen:
    """A set of ids: numbers as ranges, for exchanges number trades without holes; others one by one.

    Attributes:
        bounds: start, stop, start, stop, ... of the ranges, in order; a stop is exclusive.
        names: ids that are no numbers.
    """

    bounds: list[int] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def add(self, id_: str) -> bool:
        """Remember an id; return whether it is new."""
        # 007 and 7 are two ids, so only the plain spelling is a number.
        if not (id_.isascii() and id_.isdigit()) or (id_[0] == "0" and id_ != "0"):
            new = id_ not in self.names
            self.names.add(id_)
            return new
        number = int(id_)
        # An odd position is inside a range.
        at = bisect_right(self.bounds, number)
        if at % 2:
            return False
        left = at > 0 and self.bounds[at - 1] == number
        right = at < len(self.bounds) and self.bounds[at] == number + 1
        if left and right:
            del self.bounds[at - 1 : at + 1]
        elif left:
            self.bounds[at - 1] = number + 1
        elif right:
            self.bounds[at] = number
        else:
            self.bounds[at:at] = [number, number + 1]
        return True

    def state(self) -> tuple[list[int], list[str]]:
        """Bounds and names, as JSON values."""
        return list(self.bounds), sorted(self.names)
