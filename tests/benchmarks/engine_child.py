"""A process that trains for the benchmark: requests on its standard input, answers on its standard output, JSON lines.

    with Child("memo", corpus_path, "cpu", threads=1) as child:
        child.send("train", work)
        answer = child.receive()

As a program it is the process itself. It says "ready" when its imports are done, so that they can be timed apart.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from memo.lm.environment import training_environment


class ChildError(RuntimeError):
    """What went wrong in the process, in one line."""


class Child:
    def __init__(self, variant: str, corpus: Path, device: str, threads: int) -> None:
        begun = time.perf_counter()
        # memo's as a campaign starts them
        given = training_environment(os.environ) if variant in ("memo", "stack") else os.environ
        environment = {**given, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        line = [sys.executable, str(Path(__file__)), variant, str(corpus), device]
        self.process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        try:
            self.receive()
        except ChildError:
            self.close()
            raise
        self.start_s = time.perf_counter() - begun

    def send(self, request: str, content: Any = None) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([request, content]) + "\n")
        self.process.stdin.flush()

    def receive(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise ChildError(f"a training process ended with exit code {self.process.wait()}")
        answer, error = json.loads(line)
        if error:
            raise ChildError(error)
        return answer

    def ask(self, request: str, content: Any = None) -> Any:
        self.send(request, content)
        return self.receive()

    def close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_variant(name: str, corpus_path: Path, device: str) -> Any:
    """The variant, with all imported that its training needs."""
    import engine_corpus
    import engine_variants
    from transformers.utils import logging

    logging.set_verbosity_error()
    corpus = engine_corpus.load(corpus_path)
    if name == "trainer":
        import transformers

        transformers.Trainer  # noqa: B018 - imported when it is named
        import accelerate  # noqa: F401 - Trainer asks for it
    if name == "stack":
        import engine_stack

        return engine_stack.Stack(corpus, device)
    return {"trainer": engine_variants.Trainer, "loop": engine_variants.Loop, "memo": engine_variants.Memo}[name](
        corpus, device
    )


def answer(variant: Any, request: str, content: Any) -> Any:
    import engine_variants

    if request == "matmul":
        return engine_variants.matmul_rate(variant.device, content["precision"], content["size"])
    if request == "evaluate":
        begun = time.perf_counter()
        variant.evaluate(variant.models[0])
        return time.perf_counter() - begun
    work = engine_variants.Work(**content)
    return getattr(variant, request)(work)


def main() -> None:
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to standard error

    def reply(content: Any, error: str | None = None) -> None:
        channel.write(json.dumps([content, error]) + "\n")
        channel.flush()

    name, corpus_path, device = sys.argv[1:]
    try:
        variant = open_variant(name, Path(corpus_path), device)
    except ImportError as error:
        reply(None, f"cannot be measured here: {error}")
        return
    reply("ready")
    for line in sys.stdin:
        request, content = json.loads(line)
        try:
            reply(answer(variant, request, content))
        except Exception as error:  # whatever it is, the parent reports it
            import traceback

            traceback.print_exc()
            reply(None, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


if __name__ == "__main__":
    main()
