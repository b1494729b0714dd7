"""memo's training engine against transformers.Trainer and a plain loop, side by side: real tokens per second.

    python tests/benchmarks/engine.py --device cpu --repeat 3
    python tests/benchmarks/engine.py --rows gpt2,llama --sizes 0.2M --seconds 10 --append tests/benchmarks/RESULTS.md
    python tests/benchmarks/engine.py --device cuda --headline 5

On a CPU all three train as many splits as there are cores: `Trainer` (a) and the plain loop (b) one after another with
all cores, memo (c) each in its own single-threaded process. On a GPU (a) and (b) train one split, and memo a stack as
wide as its engine chooses. The passes over the data are the same for all, and so few that a repetition of a row takes
about `--seconds`; their cost per step does not depend on how many there are. Variants take turns in rotating order.
Starting a process is timed apart, and so is evaluation. memo's processes get the environment that a campaign gives them
(`memo.lm.environment`), the others what a user's shell gives. On a GPU the table begins with the memory of stacks.

(a) needs the package accelerate. Where memo is not installed, run it with the root of the repository as PYTHONPATH.
"""

import argparse
import datetime
import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import engine_corpus
import psutil
from engine_child import Child, ChildError
from engine_corpus import MODELS
from engine_report import TITLES, Row, Run, explanation, machine, table
from engine_variants import Work, cores

MATMUL = {"cpu": 1024, "cuda": 8192}
SIZES = {"cpu": "0.2M,1.3M", "cuda": "5M,25M"}
BFLOAT16 = {"cpu": "gpt2-1.3M", "cuda": ",".join(f"{name}-{size}" for name in MODELS for size in ("5M", "25M"))}
SECONDS = {"cpu": 20.0, "cuda": 10.0}
BUSY = 10.0  # percent of the cores in use by others, above which figures are not to be trusted
WIDTH = 8  # of the stacks whose memory is measured
TRIAL = 0.1  # share of a split with which processes warm up and are timed for the plan


class Team:
    """The processes of one variant, and which splits each of them trains."""

    def __init__(self, children: list[Child], splits: list[int]) -> None:
        self.children = children
        self.shares = [splits[i :: len(children)] for i in range(len(children))]

    def ask(self, request: str, work: dict[str, Any]) -> list[Any]:
        """Sends it to all at once, and waits for the last."""
        for child, splits in zip(self.children, self.shares, strict=True):
            child.send(request, {**work, "splits": splits})
        answers, errors = [], []
        for child in self.children:  # every answer is read, or the next request would get it
            try:
                answers.append(child.receive())
            except ChildError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return answers

    def run(self, work: dict[str, Any]) -> Run:
        begun = time.perf_counter()
        done = self.ask("train", work)
        taken = time.perf_counter() - begun
        targets, positions = (sum(one[key] for one in done) for key in ("targets", "positions"))
        losses = [loss for part in self.ask("losses", work) for loss in part]
        return Run(
            tokens_per_s=targets / taken,
            epoch_s=taken / (work["epochs"] * work["share"] * max(map(len, self.shares))),
            padding=1 - targets / positions if positions else None,
            losses=losses,
            peak_bytes=done[0].get("peak_bytes"),
        )


def open_teams(device: str, threads: int, corpus: Path, stack: ExitStack) -> tuple[dict[str, Team], dict[str, str]]:
    """Everyone that can be measured here, and why the others cannot."""
    processes = threads if device == "cpu" else 1
    wanted = {"memo": (processes, 1), "trainer": (1, threads), "loop": (1, threads)}
    teams, missing = {}, {}
    for name, (count, each) in wanted.items():
        program = "stack" if name == "memo" and device == "cuda" else name
        try:
            children = [stack.enter_context(Child(program, corpus, device, each)) for _ in range(count)]
        except ChildError as error:
            missing[name] = str(error)
            continue
        teams[name] = Team(children, list(range(processes)))
    return teams, missing


def plan(row: Row, teams: dict[str, Team], seconds: float, width: int | None) -> dict[str, Any]:
    """Warms every process up on the row's model, and finds out how much of the training fits the time."""
    work = asdict(Work(MODELS[row.architecture][row.size], row.precision, [], epochs=1, share=TRIAL, width=width))
    taken = []
    for name, team in teams.items():
        team.ask("train", work)
        begun = time.perf_counter()
        done = team.ask("train", work)
        taken.append(time.perf_counter() - begun)
        if name == "memo":
            row.models = done[0].get("models", len(done))
    row.parameters, row.counted = team.children[0].ask("parameters", work)
    # The median: Trainer's fixed cost is much of its short trial, and little of the rest.
    row.passes = max(2 * TRIAL, TRIAL * seconds / (len(teams) * statistics.median(taken)))
    if row.passes >= 1:
        row.passes = round(row.passes)
    return {**work, "epochs": max(1, int(row.passes)), "share": min(1.0, row.passes)}


def measure(row: Row, teams: dict[str, Team], options: argparse.Namespace) -> None:
    work = plan(row, teams, options.seconds, options.width)
    order = list(teams)
    for repetition in range(options.repeat):
        turn = repetition % len(order)
        for name in order[turn:] + order[:turn]:
            run = teams[name].run(work)
            row.runs.setdefault(name, []).append(run)
            if name == "memo" and options.device == "cpu":
                run.evaluate_s = max(teams[name].ask("evaluate", work))


def chosen_rows(options: argparse.Namespace) -> list[Row]:
    names = [(name, size) for size in options.sizes.split(",") for name in options.rows.split(",")]
    wanted = options.bfloat16.split(",")
    rows = [Row(name, size, "float32") for name, size in names]
    return rows + [Row(name, size, "bfloat16") for name, size in names if f"{name}-{size}" in wanted]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions of each row (3)")
    parser.add_argument("--rows", default=",".join(MODELS), help=f"architectures, from {', '.join(MODELS)}")
    parser.add_argument("--sizes", help=f"from {', '.join(engine_corpus.SIZES)}")
    parser.add_argument("--bfloat16", help="rows that are measured in bfloat16 as well, such as gpt2-1.3M; '' for none")
    parser.add_argument("--seconds", type=float, help="of one repetition of a row, its variants together")
    parser.add_argument("--check", action="store_true", help="only: does a stacked step equal a step alone?")
    parser.add_argument(
        "--memory", action="store_true", help="only: is a stacked step equal, and what does a member take?"
    )
    parser.add_argument("--headline", type=float, metavar="MINUTES", help="only: 400 models of 5 M parameters")
    parser.add_argument("--cores", type=int, default=cores(), help="that each variant may use; all of them")
    parser.add_argument("--width", type=int, help="models in a stack; the engine chooses if it is left out")
    parser.add_argument("--models", type=int, default=400, help="of the headline (400)")
    parser.add_argument("--append", type=Path, help="a file that the report is appended to")
    parser.add_argument("--json", type=Path, help="a file for the figures of every repetition")
    options = parser.parse_args()
    options.sizes = options.sizes or SIZES[options.device]
    options.bfloat16 = BFLOAT16[options.device] if options.bfloat16 is None else options.bfloat16
    options.seconds = options.seconds or SECONDS[options.device]
    known = {*MODELS, *engine_corpus.SIZES}
    for word in [*options.rows.split(","), *options.sizes.split(",")]:
        if word not in known:
            parser.error(f"{word}: expected one of {', '.join([*MODELS, *engine_corpus.SIZES])}")
    return options


class Report:
    """What is printed and, at the end, appended to a file."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        print(line, flush=True)
        self.lines.append(line)

    def append(self, path: Path, title: str) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"\n## {title}\n\n" + "\n".join(self.lines) + "\n")


def measure_rows(options: argparse.Namespace, say: Report) -> list[Row]:
    corpus = engine_corpus.build()
    say(f"Corpus: {corpus.name}, {corpus.offsets[-1]:,} tokens, vocabulary {corpus.vocab_size}; windows of")
    say(f"{engine_corpus.WINDOW}, batches of {engine_corpus.BATCH}, a split is half of the documents.\n")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder) / "corpus.npz"
        engine_corpus.save(corpus, path)
        teams, missing = open_teams(options.device, options.cores, path, stack)
        for name, reason in missing.items():
            say(f"{TITLES[name]} {reason}\n")
        if not teams:
            return []
        last = list(teams.values())[-1].children[0]  # the one with all cores
        start = next(iter(teams.values())).children[0].start_s
        say(f"Start of a training process (imports, corpus): {start:.1f} s.")
        size = MATMUL[options.device]
        asked = {name: {"precision": name, "size": size} for name in ("float32", "bfloat16")}
        matmul = {name: last.ask("matmul", content) for name, content in asked.items()}
        rates = ", ".join(f"{rate / 1e9:,.0f} GFLOP/s in {name}" for name, rate in matmul.items())
        say(f"Matrix products of {size} x {size} x {size}: {rates}.\n")
        rows = []
        for row in chosen_rows(options):
            try:
                measure(row, teams, options)
            except ChildError as error:
                say(f"{row.name} in {row.precision} cannot be measured: {error}\n")
                continue
            rows.append(row)
            print(table([row], matmul, options.device).splitlines()[-1], flush=True)
    print()
    say(table(rows, matmul, options.device) + "\n")
    for message in filter(None, (row.unequal() for row in rows)):
        say(message + "\n")
    say(f"Repetitions: {options.repeat}, in rotating order.\n{explanation(options.device)}")
    return rows


def main() -> int:
    options = parse()
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        print("No CUDA GPU was found, so the rows of a GPU are not measured; --device cpu measures those of a CPU.")
        return 3
    say, rows, failed = Report(), [], False
    title = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {machine(options.device, options.cores)}"
    print(title, flush=True)
    busy = psutil.cpu_percent(interval=2)  # by others: nothing of this has begun
    if busy > BUSY and not (options.check or options.memory):
        say(f"NOT IDLE: others used {busy:.0f} % of the cores just before. Threads that wait for each other suffer")
        say("most, so (a) and (b) look worse than they are. Measure again on idle cores.\n")
    if options.check or options.memory or options.headline or options.device == "cuda":
        try:
            import engine_stack
        except ImportError as error:
            print(f"Stacks cannot be measured here: {error}")
            return 3
        failed = not engine_stack.check(options.device, say)
    if options.memory or (options.device == "cuda" and not (options.check or options.headline)):
        shapes = [(name, size) for size in options.sizes.split(",") for name in options.rows.split(",")]
        for precision in ("float32", "bfloat16"):
            engine_stack.memory(options.device, precision, shapes, options.width or WIDTH, say)
    if options.headline:
        engine_stack.headline(options.device, options.headline, options.models, options.width, say)
    elif not (options.check or options.memory):
        rows = measure_rows(options, say)
        failed = failed or not rows
    if options.append:
        say.append(options.append, title)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows]))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
