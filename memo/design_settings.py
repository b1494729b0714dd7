"""The `design:` section of a campaign file: which documents each model trains on, and how splits make up blocks."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from memo.sections import Count, Section

DOCUMENT_RULE = "document"
DEFAULT_BLOCK = 16
SMALLEST_BLOCK, LARGEST_BLOCK = 8, 48  # that `auto` likes to take
SPLITS_PER_COUNT = 16  # by default, where documents are copied
SMALLEST_CELL = 8  # expected splits on a side, below which a score says next to nothing
LADDER_BLOCK = 12  # at least: whole counts for three rungs at include 0.5


class Knockout(Section):
    """Sets of documents that are removed whole, on top of the base design. They may overlap."""

    sets: tuple[str, ...] = Field(description="rules each of whose groups is a set", min_length=1)
    probability: Annotated[float, Field(strict=True, gt=0, lt=1)] = Field(
        0.25, description="probability that a set is removed from a split"
    )
    size_controls: Annotated[int, Field(strict=True, ge=0)] = Field(
        6, description="sets of random documents, of graded sizes, that say what losing tokens does by itself"
    )

    @model_validator(mode="after")
    def _rules_once(self) -> "Knockout":
        if DOCUMENT_RULE in self.sets or len(set(self.sets)) < len(self.sets):
            raise ValueError(f"sets: expected every rule once and never `document`, found {', '.join(self.sets)}")
        return self


class Copies(Section):
    """Chosen documents that each split has so many times, in the place of their coins of the base design."""

    counts: tuple[Annotated[int, Field(strict=True, ge=0, le=255)], ...] = Field(
        (0, 1, 2, 4, 8), description="numbers of copies, each as often as the others; 0 is what the others are held to"
    )
    documents: tuple[str, ...] = Field((), description="identifiers of the chosen documents; or rule, or sample")
    rule: str | None = Field(None, description="the documents of all groups of this rule")
    sample: Count | None = Field(
        None, description="so many at random, of those of the rule, else of all that stand alone in the design"
    )

    @model_validator(mode="after")
    def _some_of_each(self) -> "Copies":
        if 0 not in self.counts or len(self.counts) < 2 or list(self.counts) != sorted(set(self.counts)):
            raise ValueError(
                f"counts: expected 0 and at least one other number, rising, each once, found {list(self.counts)}"
            )
        if bool(self.documents) == bool(self.rule or self.sample):
            raise ValueError(
                "expected documents, or rule and sample or one of them, to say which documents are copied; found "
                + ("both" if self.documents else "none")
            )
        if len(set(self.documents)) < len(self.documents):
            raise ValueError("documents: expected every identifier once, found one twice; leave it out")
        return self


class Design(Section):
    """Which documents each model trains on."""

    splits: Count = Field(64, description="models to train; whole blocks. 72 where there is a ladder")
    block: Literal["auto"] | Count = Field(
        "auto",
        description="splits per block, inside which every unit is balanced exactly; auto: 16, or what divides the "
        "number of splits, 8 to 48",
    )
    base: Literal["balanced", "bernoulli", "complement"] = Field(
        "balanced",
        description="balanced: in exactly include x block splits of a block; bernoulli: a coin per split; "
        "complement: pairs of opposite splits, for paired questions (it makes standard errors larger)",
    )
    unit: str = Field(DOCUMENT_RULE, description="rule whose groups flip one coin together; document: each its own")
    ladder: tuple[str, ...] = Field(
        (), description="nested rules, finest first, whose groups and documents all flip coins of their own"
    )
    include: Annotated[float, Field(strict=True, gt=0, lt=1)] = Field(
        0.5, description="probability that a unit is in a split"
    )
    knockout: Knockout | None = Field(None, description="sets that are removed whole by coins of their own")
    copies: Copies | None = Field(None, description="chosen documents that a split has 0, 1, 2, ... times")
    max_removed: Annotated[float, Field(strict=True, gt=0, le=1)] = Field(
        0.05, description="largest share of a split's tokens that a set may have"
    )

    @property
    def levels(self) -> tuple[str, ...]:
        """Rules whose groups flip coins, the finest first."""
        return (DOCUMENT_RULE, *self.ladder) if self.ladder else (self.unit,)

    @property
    def rules(self) -> tuple[str, ...]:
        """Rules that the splits depend on, each once: the levels, those whose sets are removed, that of the copies."""
        removed = self.knockout.sets if self.knockout is not None else ()
        copied = self.copies.rule if self.copies is not None else None
        names = dict.fromkeys((*self.levels, *removed, *([copied] if copied else [])))
        return tuple(name for name in names if name != DOCUMENT_RULE)

    @property
    def step(self) -> int:
        """Blocks must be multiples of this, so that every count in a balanced block is whole.

        A unit with r units below and including it is taken in p / r and left in (1 - p) / r of the splits; a number of
        copies is drawn in one of as many splits as there are numbers.
        """
        if self.base == "bernoulli":
            return 1
        include = Fraction(self.include).limit_denominator(1000)
        rungs = range(1, len(self.levels) + 1)
        of_base = math.lcm(*(share.denominator for r in rungs for share in (include / r, (1 - include) / r)))
        return of_base if self.copies is None else math.lcm(of_base, len(self.copies.counts))

    @property
    def block_size(self) -> int:
        """Splits per block. `auto` takes 16 (with a ladder at least 12), or what divides the number of splits."""
        if self.block != "auto":
            return self.block
        if self.ladder:
            return math.ceil(LADDER_BLOCK / self.step) * self.step
        return self._automatic(self.splits) or DEFAULT_BLOCK

    @property
    def blocks(self) -> int:
        return self.splits // self.block_size

    @property
    def error_block(self) -> int | None:
        """Splits of a block as standard errors take it, a pair in the complement design; None: all splits as one."""
        return {"balanced": self.block_size, "complement": 2, "bernoulli": None}[self.base]

    def scored(self, splits: Sequence[int]) -> list[int]:
        """Of these splits, those that scores are made from: in the complement design those whose partner is there."""
        if self.base != "complement":
            return list(splits)
        there = set(splits)
        return [split for split in splits if split ^ 1 in there]

    def _automatic(self, splits: int) -> int | None:
        """The block of so many splits: 16 where that divides them, else the next size below it down to 8, else the next
        above it up to 48, else a smaller one.

        A block with one split on a side has no variance of its own there, so it is not taken, unless it is the whole
        campaign. None where no size is left, such as for 2 x 29 splits.
        """
        sizes = [b for b in range(self.step, min(splits, self._largest) + 1, self.step) if splits % b == 0]
        good = [b for b in sizes if b >= self._narrowest]
        preferred = [b for b in reversed(good) if SMALLEST_BLOCK <= b <= DEFAULT_BLOCK]
        larger, smaller = [b for b in good if b > DEFAULT_BLOCK], [b for b in reversed(good) if b < SMALLEST_BLOCK]
        whole = [b for b in sizes if b == splits]
        return next(iter([*preferred, *larger, *smaller, *whole]), None)

    @property
    def _narrowest(self) -> int:
        """The smallest block with 2 splits on either side; of independent coins any will do."""
        if self.base == "bernoulli":
            return 1
        rarest = min(self.include, 1 - self.include, 1 / len(self.copies.counts) if self.copies is not None else 1)
        return math.ceil(2 / rarest / self.step - 1e-6) * self.step

    @property
    def _largest(self) -> int:
        """The largest block that `auto` takes."""
        return max(LARGEST_BLOCK, self._narrowest)

    @model_validator(mode="before")
    @classmethod
    def _more_splits_for_a_ladder(cls, data: Any) -> Any:
        # 64 splits are not whole blocks of a ladder, nor of five numbers of copies.
        if not isinstance(data, Mapping):
            return data
        if data.get("ladder"):
            return {"splits": 72, **data}
        copies = data.get("copies")
        if copies is None or "splits" in data:
            return data
        counts = copies.get("counts") if isinstance(copies, Mapping) else getattr(copies, "counts", None)
        return {"splits": SPLITS_PER_COUNT * (len(counts) if isinstance(counts, Sequence) else 5), **data}

    @model_validator(mode="after")
    def _one_kind_of_units(self) -> "Design":
        if self.ladder and self.unit != DOCUMENT_RULE:
            raise ValueError(f"expected either unit or ladder, found unit {self.unit!r} and a ladder; leave out unit")
        if self.ladder and self.base != "balanced":
            raise ValueError(
                f"ladder: expected the base balanced, which alone has rungs, found {self.base}; leave out base"
            )
        if self.base == "complement" and self.include != 0.5:
            raise ValueError(
                f"include: opposite splits take in half of the units each: expected 0.5 with the base complement, "
                f"found {self.include}; leave out include, or take the base balanced"
            )
        if len(set(self.levels)) < len(self.levels):
            raise ValueError(f"ladder: expected every rule once and never `document`, found {', '.join(self.ladder)}")
        return self

    @model_validator(mode="after")
    def _copies_fit(self) -> "Design":
        if self.copies is None:
            return self
        if self.base == "complement":
            raise ValueError(
                "copies: expected the base balanced or bernoulli, found complement, whose opposite splits have no "
                "numbers of copies between them; leave out base"
            )
        numbers = len(self.copies.counts)
        if self.splits < SMALLEST_CELL * numbers:
            enough = math.ceil(SMALLEST_CELL * numbers / self.step) * self.step
            raise ValueError(
                f"copies: {self.splits} splits give each of {numbers} numbers of copies {self.splits / numbers:.3g}; "
                f"expected at least {SMALLEST_CELL}; use {enough} splits, or fewer counts"
            )
        return self

    @model_validator(mode="after")
    def _whole_blocks(self) -> "Design":
        if self.block == "auto" and not self.ladder and self.step <= LARGEST_BLOCK and not self._automatic(self.splits):
            raise ValueError(f"splits: {self._no_block()}")
        size = self.block_size
        if size % self.step and self.ladder:
            raise ValueError(
                f"block: a ladder of {len(self.levels)} rungs, the document included, with include {self.include} is "
                f"balanced in blocks of {self.step} splits and their multiples, found {size}"
            )
        if size % self.step and self.copies is not None and size % len(self.copies.counts):
            raise ValueError(
                f"block: a block of {size} splits cannot have each of {len(self.copies.counts)} numbers of copies as "
                f"often as the others; take blocks of {self.step} splits or a multiple, or leave out block"
            )
        if size % self.step:
            raise ValueError(
                f"include: a balanced block of {size} splits needs include x block to be a whole number, "
                f"found {self.include} x {size} = {self.include * size:g}; change include or block"
            )
        if self.base != "bernoulli" and not 0 < round(self.include * size) < size:
            raise ValueError(f"block: a balanced block needs at least one split on each side, found {size} splits")
        if self.splits % size:
            below, above = self.splits // size * size, math.ceil(self.splits / size) * size
            near = f"{below} or {above}" if below else str(above)
            raise ValueError(f"splits: expected whole blocks of {size} splits, found {self.splits}; use {near}")
        return self

    def _no_block(self) -> str:
        """What to do where no block of its own choice fills the number of splits."""
        below = next((n for n in range(self.splits - 1, 0, -1) if self._automatic(n)), None)
        above = next(n for n in range(self.splits + 1, self.splits + self._largest + 1) if self._automatic(n))
        near = f"{above}" if below is None else f"{below} or {above}"
        by_hand = f", or set block: {self.step}" if self.splits % self.step == 0 else ""
        return (
            f"expected whole blocks of at most {self._largest} splits, with 2 or more on either side, "
            f"found {self.splits}; use {near}{by_hand}"
        )
