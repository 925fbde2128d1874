"""The plan of a run: its steps, learning rates and devices."""

import dataclasses

from tokmerge_jax.config import Config
from tokmerge_jax.config.common import Mesh
from tokmerge_jax.signatures import LearningRate
from tokmerge_jax.training import optimizer
from tokmerge_jax.types import UserError


@dataclasses.dataclass(frozen=True)
class Plan:
    """The plan of a run, in steps; `config.common.Training` documents the keys behind it."""

    steps: int
    warmup_steps: int
    batch_size: int
    learning_rate: float
    min_learning_rate: float
    checkpoint_every: int
    seed: int
    schedule: str
    steps_per_epoch: int
    mesh: Mesh

    @classmethod
    def of(cls, config: Config, rows: int) -> "Plan":
        """The plan of a configuration for a data set of `rows`, without incomplete batches.

        Raises:
          UserError: if the data set is smaller than a batch.
        """
        train = config.train
        if not 1 <= train.batch_size <= rows:
            raise UserError(
                f"config.train.batch_size={train.batch_size} must be from 1 to the {rows} rows of"
                " the training data"
            )
        per_epoch = rows // train.batch_size
        return cls(
            steps=train.epochs * per_epoch,
            warmup_steps=int(train.warmup_epochs * per_epoch),
            batch_size=train.batch_size,
            learning_rate=train.learning_rate,
            min_learning_rate=train.min_learning_rate,
            checkpoint_every=train.checkpoint_every,
            seed=config.seed,
            schedule=train.schedule,
            steps_per_epoch=per_epoch,
            mesh=config.mesh,
        )

    @property
    def rate(self) -> LearningRate:
        """The learning rate of each step.

        Raises:
          UserError: if the schedule is unknown.
        """
        return optimizer.named(
            self.schedule,
            self.learning_rate,
            steps=self.steps,
            warmup_steps=self.warmup_steps,
            min_share=self.min_learning_rate,
            per_epoch=self.steps_per_epoch,
        )
