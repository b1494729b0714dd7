"""The paths of a campaign directory. No other module joins a path below it.

    campaign.yaml                      the resolved campaign file
    corpus/documents.parquet           doc_id, text, n_tokens, metadata columns
    corpus/evaluation.parquet          the same, for texts that are never trained on
    corpus/controls.parquet            doc_id, text, n_tokens, kind, copies: phantoms and canaries
    corpus/rejected.parquet            source, location, reason, detail
    corpus/tokens.safetensors          tokens, offsets: documents, evaluation texts, controls
    corpus/tokenizer/                  a tokenizer that transformers opens
    groups/NAME.parquet                doc_id, group_id
    design/sets.parquet                set, rule, group_id, doc_id: what is removed whole, where the design removes sets
    design/block-00000.safetensors     decisions and inclusion of one block of splits, bit-packed
    losses/split-00000.safetensors     loss, n_correct: (evaluations, documents + evaluation texts + controls)
    token_losses/split-00000.safetensors   nats of every token of some texts, where they are kept
    weights/split-00000/               a trained model, where weights are kept
    stacks/stack-00000.json            splits that are trained side by side, by the first of them
    checkpoints/split-00000/           the newest states of a training under way, gone when it is done
    logs/split-00000.jsonl             training log
    scores/NAME.parquet                the score table of a rule
    diagnostics.json                   controls, reliability, what can be resolved
    report.html                        all of it to look at, in one file

`X.record.json` beside an artifact X is its completion record; an artifact without one does not exist.
"""

from dataclasses import dataclass
from pathlib import Path

FORMAT_VERSION = 1
RECORD_SUFFIX = ".record.json"


@dataclass(frozen=True)
class Layout:
    """Paths below one campaign directory."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "campaign.yaml"

    @property
    def lock(self) -> Path:
        return self.root / ".lock"

    @property
    def documents(self) -> Path:
        return self.root / "corpus" / "documents.parquet"

    @property
    def evaluation(self) -> Path:
        return self.root / "corpus" / "evaluation.parquet"

    @property
    def controls(self) -> Path:
        return self.root / "corpus" / "controls.parquet"

    @property
    def diagnostics(self) -> Path:
        return self.root / "diagnostics.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def rejected(self) -> Path:
        return self.root / "corpus" / "rejected.parquet"

    @property
    def tokens(self) -> Path:
        return self.root / "corpus" / "tokens.safetensors"

    @property
    def tokenizer(self) -> Path:
        return self.root / "corpus" / "tokenizer"

    def groups(self, rule: str) -> Path:
        return self.root / "groups" / f"{rule}.parquet"

    @property
    def sets(self) -> Path:
        return self.root / "design" / "sets.parquet"

    @property
    def copied(self) -> Path:
        return self.root / "design" / "copied.parquet"

    def block(self, block: int) -> Path:
        return self.root / "design" / f"block-{block:05d}.safetensors"

    def losses(self, split: int) -> Path:
        return self.root / "losses" / f"split-{split:05d}.safetensors"

    def token_losses(self, split: int) -> Path:
        return self.root / "token_losses" / f"split-{split:05d}.safetensors"

    @property
    def stacks(self) -> Path:
        return self.root / "stacks"

    def stack(self, first: int) -> Path:
        return self.stacks / f"stack-{first:05d}.json"

    def weights(self, split: int) -> Path:
        return self.root / "weights" / f"split-{split:05d}"

    def checkpoints(self, split: int) -> Path:
        return self.root / "checkpoints" / f"split-{split:05d}"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def log(self, split: int) -> Path:
        return self.logs / f"split-{split:05d}.jsonl"

    def scores(self, rule: str) -> Path:
        return self.root / "scores" / f"{rule}.parquet"


def record_path(artifact: Path) -> Path:
    """Where the completion record of an artifact lies."""
    return artifact.with_name(artifact.name + RECORD_SUFFIX)


def checkpoint_steps(folder: Path) -> list[int]:
    """Steps of the training at which the checkpoints of a folder with a completion record were taken, rising."""
    found = folder.glob(f"step-*.safetensors{RECORD_SUFFIX}")
    return sorted(int(path.name.removeprefix("step-").partition(".")[0]) for path in found)
