"""Training: configuration, the models, their evaluation, and the main job."""

from __future__ import annotations

from qtfeat.train.config import TrainConfig

__all__ = ["TrainConfig"]
