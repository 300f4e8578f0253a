"""The dead-letter stream: messages that cannot be processed, whole, with the reason."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qtfeat.streams.consumer import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Dead:
    """A message that is given up: stream, id, times it was delivered, why."""

    stream: str
    id: str
    deliveries: int
    reason: str


def bury(client: Any, settings: Settings, dead: Sequence[Dead]) -> None:
    """Move messages to the dead-letter stream and acknowledge them, both or neither.

    The dead letter has the message's own fields, and `dead.stream`, `dead.id`, `dead.group`, `dead.deliveries`,
    `dead.reason`.
    """
    pipe = client.pipeline(transaction=False)
    for one in dead:
        pipe.xrange(one.stream, one.id, one.id)
    found = pipe.execute()
    pipe = client.pipeline(transaction=True)
    for one, entries in zip(dead, found, strict=True):
        letter: dict[Any, Any] = dict(entries[0][1]) if entries and entries[0][1] else {}
        letter |= {
            "dead.stream": one.stream,
            "dead.id": one.id,
            "dead.group": settings.group,
            "dead.deliveries": one.deliveries,
            "dead.reason": one.reason[:1000],
        }
        pipe.xadd(settings.dead_letter.format(stream=one.stream), letter)
        pipe.xack(one.stream, settings.group, one.id)
        log.warning("%s %s is a dead letter: %s", one.stream, one.id, one.reason)
    pipe.execute()
