"""The three ways to train that are compared: `Trainer`, a plain loop, memo.

    variant = Trainer(corpus, "cpu")             or Loop, Memo, Stack
    done = variant.train(work)                   what is timed
    variant.losses(work)                         what is not: mean loss of the trained documents under each model

Equal in all: tokens, passes, batch size, AdamW with the same peak rate, decay and clipping, linear warm-up into half a
cosine, no dropout, initial weights from the same distribution. Each is written as its user would write it: the first
two take what transformers offers (a collator that pads to the longest window of a random batch, its attention mask, its
GELU), memo does what a campaign does.
"""

import dataclasses
import math
import os
import tempfile
from typing import Any

import engine_corpus
import numpy as np
import torch
from engine_corpus import BATCH, WINDOW, Corpus

from memo.lm.device import Device, activate
from memo.lm.evaluate import document_losses
from memo.lm.model import build_config
from memo.lm.train import Setup, train_split


@dataclasses.dataclass(frozen=True)
class Settings:
    """As in a campaign file, with its defaults but for the epochs. Nothing is evaluated inside the timed part."""

    epochs: int
    batch_size: int = BATCH
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    final_rate: float = 0.0
    clip: float = 1.0
    evaluations: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Work:
    model: dict[str, Any]
    precision: str
    splits: list[int]
    epochs: int
    share: float = 1.0  # of each split's documents
    width: int | None = None  # models in a stack; None as the engine chooses


class Variant:
    def __init__(self, corpus: Corpus, device: str) -> None:
        self.corpus, self.device, self.models = corpus, device, []

    def train(self, work: Work) -> dict[str, Any]:
        """Trains all splits, keeps the models, and says how many targets and computed positions there were."""
        self.models, totals = [], {"targets": 0, "positions": 0}
        for split in work.splits:
            documents = engine_corpus.half(self.corpus, split, work.share)
            totals["targets"] += work.epochs * engine_corpus.targets(self.corpus, documents)
            totals["positions"] += self.one(work, split, documents)
        self.synchronize()
        return totals

    def one(self, work: Work, split: int, documents: np.ndarray) -> int:
        raise NotImplementedError

    def synchronize(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def losses(self, work: Work) -> list[float]:
        """Mean nats per token of each model's own documents."""
        means = []
        for split, model in zip(work.splits, self.models, strict=True):
            documents = engine_corpus.half(self.corpus, split, work.share)
            loss, _ = self.evaluate(model)
            means.append(float(np.average(loss[documents], weights=np.diff(self.corpus.offsets)[documents])))
        return means

    def evaluate(self, model: Any) -> tuple[np.ndarray, np.ndarray]:
        corpus, device = self.corpus, Device(self.device, "float32")
        return document_losses(model.to(self.device), corpus.tokens, corpus.offsets, WINDOW, corpus.bos, device)

    def parameters(self, work: Work) -> tuple[int, int]:
        """All of them, and those outside the tables of embeddings and positions and the output layer."""
        with torch.device("meta"):
            model = causal_lm(work.model, self.corpus)
        tables = [model.get_input_embeddings(), model.get_output_embeddings()]
        tables += [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
        outside = {id(p): p.numel() for module in tables for p in module.parameters()}
        total = sum(p.numel() for p in model.parameters())
        return total, total - sum(outside.values())


def causal_lm(section: dict[str, Any], corpus: Corpus) -> Any:
    """A model as transformers builds it, with its own GELU."""
    from transformers import AutoModelForCausalLM

    own = {"activation_function": "gelu_new"} if section["model_type"] == "gpt2" else {}
    config = build_config({**section, **own}, corpus.vocab_size, WINDOW, corpus.bos)
    return AutoModelForCausalLM.from_config(config)


def collator(corpus: Corpus) -> Any:
    """transformers' own for causal models; it pads to the longest window of the batch and masks the padding."""
    from tokenizers import Tokenizer, models
    from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

    words = {str(index): index for index in range(corpus.vocab_size)}
    backend = Tokenizer(models.WordLevel(words, unk_token=str(corpus.bos)))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token=str(corpus.bos), padding_side="right")
    return DataCollatorForLanguageModeling(tokenizer, mlm=False)


class Trainer(Variant):
    """(a) `transformers.Trainer`, one split after another."""

    def one(self, work: Work, split: int, documents: np.ndarray) -> int:
        import transformers

        torch.manual_seed(split)
        settings, windows = Settings(work.epochs), engine_corpus.positions(self.corpus, documents)
        with tempfile.TemporaryDirectory() as folder:
            arguments = transformers.TrainingArguments(
                output_dir=folder,
                num_train_epochs=settings.epochs,
                per_device_train_batch_size=settings.batch_size,
                learning_rate=settings.learning_rate,
                weight_decay=settings.weight_decay,
                warmup_steps=warmup_steps(settings, len(windows)),
                lr_scheduler_type="cosine",
                max_grad_norm=settings.clip,
                bf16=work.precision == "bfloat16",
                use_cpu=self.device == "cpu",
                dataloader_pin_memory=self.device == "cuda",
                seed=split,
                report_to="none",
                save_strategy="no",
                eval_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            )
            trainer = transformers.Trainer(
                model=causal_lm(work.model, self.corpus),
                args=arguments,
                data_collator=collator(self.corpus),
                train_dataset=[{"input_ids": window} for window in windows],
            )
            trainer.remove_callback(transformers.PrinterCallback)
            trainer.train()
        self.models.append(trainer.model)
        return 0  # as in the loop, whose batches are drawn in the same way


class Loop(Variant):
    """(b) The same batches in a loop of nothing but torch."""

    def one(self, work: Work, split: int, documents: np.ndarray) -> int:
        from transformers import get_cosine_schedule_with_warmup

        torch.manual_seed(split)
        settings, windows = Settings(work.epochs), engine_corpus.positions(self.corpus, documents)
        model = causal_lm(work.model, self.corpus).to(self.device).train()
        matrices = [p for p in model.parameters() if p.ndim >= 2]
        others = [p for p in model.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
        loader = torch.utils.data.DataLoader(
            [{"input_ids": window} for window in windows],
            batch_size=settings.batch_size,
            shuffle=True,
            collate_fn=collator(self.corpus),
            pin_memory=self.device == "cuda",
        )
        steps = settings.epochs * len(loader)
        schedule = get_cosine_schedule_with_warmup(optimizer, warmup_steps(settings, len(windows)), steps)
        positions = 0
        for _ in range(settings.epochs):
            for batch in loader:
                moved = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
                with torch.autocast(self.device, torch.bfloat16, enabled=work.precision == "bfloat16"):
                    loss = model(**moved).loss
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                positions += batch["input_ids"].numel()
        self.models.append(model)
        return positions


class Memo(Variant):
    """(c) on a CPU: memo's engine, single-threaded. The caller starts one process per core."""

    def __init__(self, corpus: Corpus, device: str) -> None:
        super().__init__(corpus, device)
        activate(Device(device, "float32"))

    def one(self, work: Work, split: int, documents: np.ndarray) -> int:
        setup = setup_of(self.corpus, work)
        result = train_split(setup, split, documents, Device(self.device, work.precision))
        self.models.append(result.model)
        return round(result.trained_tokens / (1 - result.padding_share))


def setup_of(corpus: Corpus, work: Work, window: int = WINDOW, **settings: Any) -> Setup:
    training = dataclasses.replace(Settings(work.epochs), **settings)
    return Setup(corpus.tokens, corpus.offsets, window, corpus.bos, corpus.vocab_size, work.model, training, seed=0)


def warmup_steps(settings: Settings, windows: int) -> int:
    return math.ceil(settings.warmup * settings.epochs * math.ceil(windows / settings.batch_size))


def matmul_rate(device: str, precision: str, size: int) -> float:
    """Best of several: floating-point operations per second of a product of square matrices."""
    import time

    dtype = getattr(torch, precision)
    first, second = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best, until = math.inf, time.perf_counter() + 1.0
    while time.perf_counter() < until or best == math.inf:
        begun = time.perf_counter()
        first @ second
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begun)
    return 2 * size**3 / best


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
