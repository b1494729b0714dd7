"""What the benchmark of the training engine measured, and its table in Markdown."""

import platform
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EPOCHS = 20  # of a campaign, by default: what evaluation is compared with
UNEQUAL = 0.05  # relative difference of training losses beyond which the work was not the same
TITLES = {"trainer": "(a) Trainer", "loop": "(b) loop", "memo": "(c) memo"}


@dataclass
class Run:
    """One variant's training in one repetition."""

    tokens_per_s: float
    epoch_s: float  # wall time of one pass over one split, with others beside it
    padding: float | None  # share of the computed positions
    losses: list[float]  # of each model, nats per token of its own documents
    evaluate_s: float | None = None  # all documents once, with others beside it
    peak_bytes: float | None = None  # of a GPU's memory, for each model


@dataclass
class Row:
    architecture: str
    size: str
    precision: str
    parameters: int = 0
    counted: int = 0  # parameters outside the embeddings and the output layer
    passes: float = 0  # over each split; below 1 where the splits were cut
    models: int = 0  # that memo trained at once
    runs: dict[str, list[Run]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.architecture}-{self.size}"

    def ratios(self, first: str, second: str) -> list[float]:
        """Of each repetition; empty where one of the two could not be measured."""
        pairs = zip(self.runs.get(first, []), self.runs.get(second, []), strict=False)
        return [a.tokens_per_s / b.tokens_per_s for a, b in pairs]

    def over(self, variant: str, of: str) -> list[Any]:
        """What all repetitions of a variant have under this name."""
        return [value for run in self.runs.get(variant, []) if (value := getattr(run, of)) is not None]

    def loss(self, variant: str) -> float | None:
        return _mean(loss for losses in self.over(variant, "losses") for loss in losses)

    def speed(self, variant: str) -> float | None:
        speeds = self.over(variant, "tokens_per_s")
        return statistics.median(speeds) if speeds else None

    def unequal(self) -> str:
        """Says so if the variants ended at different training losses; else nothing."""
        losses = {name: loss for name in TITLES if (loss := self.loss(name)) is not None}
        if not losses or max(losses.values()) <= (1 + UNEQUAL) * min(losses.values()):
            return ""
        listed = ", ".join(f"{TITLES[name]} {loss:.3f}" for name, loss in losses.items())
        return f"UNEQUAL WORK in {self.name}, {self.precision}: training losses {listed}"

    def evaluation_share(self) -> float | None:
        """Of a split's time at the default number of epochs, all documents evaluated once at the end."""
        runs = [run for run in self.runs.get("memo", []) if run.evaluate_s]
        shares = [run.evaluate_s / (run.evaluate_s + EPOCHS * run.epoch_s) for run in runs if run.evaluate_s]
        return statistics.median(shares) if shares else None


def table(rows: list[Row], matmul: dict[str, float], device: str) -> str:
    last = "evaluation" if device == "cpu" else "models; flops used a, b, c"
    head = ["model", "parameters", "precision", "passes", *TITLES.values(), "c / a", "c / b", "padding a b; c"]
    lines = [[*head, "loss a, b, c", last], *(_cells(row, matmul, device) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    written = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    written.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(written)


def _cells(row: Row, matmul: dict[str, float], device: str) -> list[str]:
    speeds = [row.speed(name) for name in TITLES]
    losses = [row.loss(name) for name in TITLES]
    cells = [f"{row.architecture} {row.size}", f"{row.parameters / 1e6:.2f} M", row.precision, f"{row.passes:.2f}"]
    cells += [_written(speed, "{:,.0f}") for speed in speeds]
    cells += [spread(row.ratios("memo", "trainer")), spread(row.ratios("memo", "loop"))]
    paddings = (_mean(row.over(name, "padding")) for name in ("loop", "memo"))
    cells.append("; ".join(_written(padding, "{:.0%}") for padding in paddings))
    cells.append(", ".join(_written(loss, "{:.2f}") for loss in losses))
    if device == "cpu":
        return [*cells, _written(row.evaluation_share(), "{:.1%}")]
    used = [speed and 6 * row.counted * speed / matmul[row.precision] for speed in speeds]
    return [*cells, f"{row.models}; " + ", ".join(_written(value, "{:.1%}") for value in used)]


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})" if values else "-"


def _written(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.mean(found) if found else None


def explanation(device: str) -> str:
    lines = [
        "Targets per second, never padding: medians of the repetitions. Ratios: median (smallest-largest), each of",
        "runs side by side. Passes: over the half of the documents that a split trains on. Loss: nats per token of",
        "these documents after training.",
    ]
    if device == "cpu":
        lines.append(
            f"Evaluation: share of a split's time at {EPOCHS} epochs, all documents evaluated once at the end."
        )
    else:
        lines += [
            "Models: trained at once by memo. Flops used: 6 x parameters x targets per second over the matrix-product",
            "rate of the same precision; parameters without embeddings, positions and output layer; attention's own",
            "products are not counted.",
        ]
    return "\n".join(lines)


def machine(device: str, cores: int) -> str:
    import torch
    import transformers

    name = torch.cuda.get_device_name() if device == "cuda" else f"{_processor()}, {cores} cores"
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    return f"{name}; {versions}, Python {platform.python_version()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
