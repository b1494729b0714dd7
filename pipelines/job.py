"""What is handed to a worker at once: a split, or the splits of a stack."""

from dataclasses import dataclass


@dataclass
class Job:
    """Splits that are trained together, and how their tries went."""

    splits: tuple[int, ...]
    attempts: int = 0  # how often it was handed out
    tries: int = 0  # how often it was to blame for what died, since it last got further
    reached: int = 0  # step of its newest checkpoint when it was last to blame
    unblamed: int = 0  # deaths of workers before they began with it
    part: bool = False  # of a stack that was cut

    @property
    def first(self) -> int:
        """Its checkpoints and its record bear this number."""
        return self.splits[0]

    @property
    def name(self) -> str:
        return f"split {self.first}" if len(self.splits) == 1 else f"splits {self.first} to {self.splits[-1]}"
