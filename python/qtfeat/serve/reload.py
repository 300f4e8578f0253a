"""Another version without a restart: the alias file is watched, loaded beside the requests, and put in place."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from time import perf_counter
from typing import Any

from qtfeat import registry
from qtfeat.errors import QtfeatError
from qtfeat.registry import Aliases
from qtfeat.registry.alias import ALIASES
from qtfeat.serve.logs import tell
from qtfeat.serve.model import ServedModel
from qtfeat.serve.service import Live, Service

_Signature = tuple[int, int, int] | None


def load_live(root: str | Path, name: str, known: Live | None = None) -> Live:
    """Load what the aliases of a model point at; every hash and golden row of a new version is checked.

    Args:
        root: folder of all models.
        name: the model.
        known: models already in memory, taken as they are where a version is the same.

    Raises:
        RegistryError: nothing in production, or a damaged version.
        FingerprintMismatch: features that this version of the package does not compute.
    """
    pointing = registry.aliases(root, name)
    at_hand = {m.version: m for m in (known and known.production, known and known.shadow) if m}
    production = _load(root, name, "production", at_hand)
    shadow = (
        None if pointing.shadow is None else _load(root, name, "shadow", at_hand | {production.version: production})
    )
    return Live(production, shadow, pointing.previous)


def _load(root: str | Path, name: str, alias: str, at_hand: dict[str, ServedModel]) -> ServedModel:
    saved = registry.load(root, name, alias)  # hashes and gates, also of a version at hand
    return at_hand.get(saved.version) or ServedModel(saved)


class Reloader:
    """Keeps a service at what the aliases say.

    Args:
        service: what answers requests.
        root: folder of all models.
        name: the model.
        every: seconds between two looks at the alias file.
    """

    def __init__(self, service: Service, root: str | Path, name: str, *, every: float = 0.5) -> None:
        self.service, self.root, self.name = service, Path(root), name
        self._every = every
        self._lock = asyncio.Lock()
        self._seen = self._signature()

    async def watch(self) -> None:
        """Look at the alias file until cancelled."""
        while True:
            await asyncio.sleep(self._every)
            if self._signature() != self._seen:
                await self.sync()

    async def sync(self) -> bool:
        """Load what the aliases say now and put it in place; a failure keeps the old models.

        Returns:
            Whether the service is at what the aliases say.
        """
        async with self._lock:
            self._seen = self._signature()
            start = perf_counter()
            try:
                live = await asyncio.to_thread(load_live, self.root, self.name, self.service.live)
                if _versions(live) == _versions(self.service.live):
                    self.service.reload_error = ""
                    return True
                await asyncio.to_thread(self.service.replace, live)
            except (QtfeatError, OSError) as error:
                self.service.reload_error = str(error)
                self.service.metrics.reloads.labels("failed").inc()
                tell("reload failed; the old version goes on", logging.ERROR, error=str(error))
                return False
            self.service.reload_error = ""
            self.service.metrics.reloads.labels("ok").inc()
            facts = _versions(live)
            tell("reloaded", **facts, seconds=round(perf_counter() - start, 4))
            self.service.announce("models", facts)
            return True

    async def promote(self, version: str) -> Aliases:
        """Put a version (or "shadow") into production, in the registry and here; see `registry.promote`."""
        out = await asyncio.to_thread(registry.promote, self.root, self.name, version)
        await self.sync()
        return out

    async def rollback(self) -> Aliases:
        """Return to the previous version; see `registry.rollback`."""
        out = await asyncio.to_thread(registry.rollback, self.root, self.name)
        await self.sync()
        return out

    async def shadow(self, version: str | None) -> Aliases:
        """Let a version see every bar beside production; None ends that; see `registry.shadow`."""
        out = await asyncio.to_thread(registry.shadow, self.root, self.name, version)
        await self.sync()
        return out

    def _signature(self) -> _Signature:
        try:
            found = (self.root / self.name / ALIASES).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size


def _versions(live: Live) -> dict[str, Any]:
    shadow = live.shadow.version if live.shadow else None
    return {"production": live.production.version, "shadow": shadow, "previous": live.previous}
