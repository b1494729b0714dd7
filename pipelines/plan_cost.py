"""What a campaign takes: tokens to train on, disk, and time at the speed of a pilot."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from memo.store import Record, read_record
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from memo.campaign import Campaign
    from subsets.designs.parts import Parts

VALUE_BYTES = 4
CHECKPOINT_BYTES = 12  # a parameter: the weight and AdamW's two moments
CHECKPOINTS_KEPT = 2


def cost(campaign: "Campaign", workspace: Workspace, parts: "Parts") -> dict[str, Any]:
    """Tokens of one split and of all, size of a model, and bytes on disk by kind; expected values."""
    from memo.lm.size import parameters

    config = workspace.config
    tokens = _tokens(campaign, parts)
    size = parameters(config.model, workspace.layout.tokenizer, config.context_tokens)
    return {
        "tokens_per_split": round(tokens),
        "epochs": config.training.epochs,
        "trained_tokens": round(tokens * config.training.epochs * config.design.splits),
        "parameters": size,
        "disk_bytes": _disk(campaign, workspace, size, parts),
    }


def _tokens(campaign: "Campaign", parts: "Parts") -> float:
    """That a split has of documents, on average."""
    return float(parts.expected_times @ campaign.n_tokens)


def _disk(campaign: "Campaign", workspace: Workspace, size: int, parts: "Parts") -> dict[str, int]:
    """Of all splits; `checkpoints_per_model` stay only while a model trains, and are no part of the total."""
    from safetensors import safe_open

    from pipelines.split_files import kept_texts

    design, training, layout = workspace.config.design, workspace.config.training, workspace.layout
    with safe_open(layout.tokens, framework="numpy") as file:
        offsets = file.get_tensor("offsets")
    n_tokens = offsets[1:] - offsets[:-1]  # of documents, evaluation texts and controls
    texts, controls = len(n_tokens), len(campaign.control_texts())
    kept = kept_texts(workspace, n_tokens)
    own = (0 if parts.copied is None else len(parts.copied)) + (0 if parts.sets is None else _bytes(parts.sets.count))
    bits = own + 2 * _bytes(campaign.units.count) + _bytes(len(campaign.doc_ids)) + _bytes(controls)
    found = {
        "losses": design.splits * 2 * len(training.evaluations) * texts * VALUE_BYTES,
        "inclusion": design.splits * bits,
        "token_losses": 0 if kept is None else design.splits * int(n_tokens[kept].sum()) * VALUE_BYTES,
        "weights": design.splits * size * VALUE_BYTES if training.keep_weights else 0,
    }
    of_model = CHECKPOINTS_KEPT * CHECKPOINT_BYTES * size if training.checkpoint_minutes is not None else 0
    return {**found, "total": sum(found.values()), "checkpoints_per_model": of_model}


def _bytes(bits: int) -> int:
    return -(-bits // 8)


def time_left(campaign: "Campaign", parts: "Parts", splits: int, pilot: "Campaign") -> dict[str, Any] | None:
    """Seconds for so many more splits where the pilot was trained; None where its files do not say how long it took."""
    records = (read_record(pilot.layout.losses(split)) for split in pilot.trained_splits())
    measured = [record for record in records if record is not None and "seconds" in record.notes]
    busy_s = _busy_s(measured)
    trained = sum(int(record.notes["trained_tokens"]) for record in measured)
    if not busy_s or not trained:
        return None
    tokens = _tokens(campaign, parts) * campaign.config.training.epochs  # of one split
    return {
        "tokens_per_s": round(trained / busy_s, 1),
        "models_per_hour": round(3600 * trained / busy_s / tokens, 2),
        "splits": splits,
        "seconds": round(splits * tokens * busy_s / trained),
    }


def _busy_s(records: list[Record]) -> float:
    """Seconds in which at least one model was in training, so that pauses of the pilot do not count."""
    spans = []
    for record in records:
        end = datetime.fromisoformat(record.notes["written"]).timestamp()
        together = len(record.notes.get("stack", [0]))  # each has its share of the time of its stack
        spans.append((end - record.notes["seconds"] * together, end))
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total
