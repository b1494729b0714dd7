"""Hands splits to workers, one per free slot, and finds out who is to blame when something dies.

A worker that dies takes its task along, and Dask gives the task to another worker. A split whose process dies again and
again is to blame itself: after the retries it has failed, and the others go on. Only as many tasks are out as there are
slots, because Dask also blames those that merely wait in the queue of a worker that dies.

Whether a split is done is read from the disk, never from what a worker answered.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from memo import __version__
from memo.errors import MemoError, UsageError
from memo.layout import checkpoint_steps
from memo.store import fingerprint
from pipelines import training_log
from pipelines.progress import Bar, Reporter
from pipelines.worker import MachineError, ProcessDied, stop_training, train_split
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from distributed import Client, Future

POLL_S = 0.5
STOP_S = 5.0  # for workers to end their training when the coordinator is stopped
UNBLAMED = 10  # deaths of workers that a split may survive without having been seen at work on one of them
NEWS_S = 60.0  # between two lines about workers that are awaited


@dataclass
class Dispatcher:
    """Trains splits on the workers of one client."""

    client: "Client"
    workspace: Workspace
    reporter: Reporter
    revive: Callable[[], None]  # asks for workers that have gone; nothing to do for a scheduler of the user's
    queue: deque[int] = field(default_factory=deque)
    running: "dict[Future, int]" = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)  # how often a split was handed out
    tries: dict[int, int] = field(default_factory=dict)  # how often it was to blame for what died
    reached: dict[int, int] = field(default_factory=dict)  # step of its newest checkpoint at that time
    unblamed: dict[int, int] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    idle_since: float | None = None
    last_news: float = 0.0

    def train(self, todo: list[int], total: int, bar: Bar) -> dict[int, str]:
        """Split -> message, for the splits that failed. total: models that the bar counts, those already done too.

        Raises `UsageError` or `MachineError` where no split can succeed, `MemoError` where the workers are lost.
        """
        self.queue.extend(todo)
        try:
            while self.queue or self.running:
                self._submit()
                for future in self._finished():
                    self._settle(future, self.running.pop(future))
                left = len(self.queue) + len(self.running)
                bar.update(total - left + sum(self._shares()))
        except BaseException:
            self._stop()
            raise
        return self.failed

    def _submit(self) -> None:
        slots, resources = self._slots()
        self._expect_workers(slots)
        root = str(self.workspace.layout.root.resolve())
        while self.queue and len(self.running) < slots:
            split = self.queue.popleft()
            attempt = self.attempts[split] = self.attempts.get(split, 0) + 1
            future = self.client.submit(
                train_split,
                root,
                split,
                attempt,
                __version__,
                # One scheduler may serve several campaigns; a key that was tried would give the old answer.
                key=f"train-{fingerprint({'root': root})[:8]}-{split:05d}-{attempt}",
                resources=resources,
                pure=False,
                retries=0,
            )
            self.running[future] = split

    def _slots(self) -> tuple[int, dict[str, float] | None]:
        """How many splits can train at once, and what each needs of a worker."""
        try:
            workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        except (OSError, RuntimeError) as error:
            raise self._lost() from error
        gpus = sum(int(worker["resources"].get("GPU", 0)) for worker in workers)
        if gpus:
            return gpus, {"GPU": 1}
        return sum(worker["nthreads"] for worker in workers), None

    def _expect_workers(self, slots: int) -> None:
        """Waits for workers that have gone, for as long as the campaign file says."""
        now = time.monotonic()
        if slots:
            self.idle_since = None
            return
        self.revive()
        self.idle_since = self.idle_since or now
        cluster = self.workspace.config.cluster
        patience = None if cluster.slurm is not None else cluster.patience_minutes
        waited = now - self.idle_since
        if patience is not None and waited > 60 * patience:
            raise MemoError(
                f"no worker for {waited:.0f} s; start workers for this scheduler (dask worker), then the same command "
                "goes on; cluster.patience_minutes says how long to wait"
            )
        if waited > POLL_S and now - self.last_news > NEWS_S:
            self.last_news = now
            self.reporter.line("train: no worker at the moment; waiting for one")
        if not self.running:
            time.sleep(POLL_S)

    def _finished(self) -> "set[Future]":
        from distributed import wait

        if not self.running:
            return set()
        try:
            return wait(list(self.running), timeout=POLL_S, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            return set()
        except Exception as error:
            # Futures are cancelled by nobody but a client that lost its scheduler.
            if self.client.status != "running" or any(future.cancelled() for future in self.running):
                raise self._lost() from error
            raise

    def _lost(self) -> MemoError:
        return MemoError(
            "lost the connection to the scheduler; start it and its workers again, then the same command goes on"
        )

    def _settle(self, future: "Future", split: int) -> None:
        from distributed.scheduler import KilledWorker

        if future.cancelled():
            raise self._lost()
        error = future.exception()
        if isinstance(error, UsageError | MachineError):
            raise error
        if isinstance(error, KilledWorker):
            self._blame_or_not(error, split)
        elif isinstance(error, ProcessDied):
            self._blame(split, str(error), 1)
        elif error is not None:
            self._fail(split, " ".join(str(error).split()))
        elif not self.workspace.split_done(split):
            self._blame(split, "the worker says that it is done, but its losses are not on this disk", 1)

    def _blame_or_not(self, death: Any, split: int) -> None:
        """A split is to blame for the death of a worker if it was the one that was trained there."""
        address = death.last_worker.address
        if training_log.read(self.workspace.layout.log(split)).last.get("worker") == address:
            self._blame(split, f"the worker {address} died", death.allowed_failures + 1)
            return
        self.unblamed[split] = self.unblamed.get(split, 0) + 1
        if self.unblamed[split] > UNBLAMED:
            self._fail(split, f"{UNBLAMED} workers died before they began with it")
        else:
            self.queue.append(split)

    def _blame(self, split: int, message: str, count: int) -> None:
        """Counts a try that ended without a result, unless it left a checkpoint further on than those before."""
        steps = checkpoint_steps(self.workspace.layout.checkpoints(split))
        went_on = max(steps, default=0) > self.reached.get(split, 0)
        self.reached[split] = max(steps, default=0)
        self.tries[split] = 0 if went_on else self.tries.get(split, 0) + count
        if self.tries[split] > self.workspace.config.cluster.retries:
            self._fail(split, f"{message}, after {self.tries[split]} tries")
            return
        self._log(split, "retry", message)
        self.reporter.line(f"train: split {split}: {message}; it is tried again")
        self.queue.append(split)

    def _fail(self, split: int, message: str) -> None:
        self.failed[split] = message
        self._log(split, "failed", message)
        self.reporter.line(f"train: split {split} failed: {message}")

    def _log(self, split: int, event: str, message: str) -> None:
        training_log.append(self.workspace.layout.log(split), event, split=split, error=message)

    def _shares(self) -> list[float]:
        """How much of each running split is trained."""
        now = time.time()
        logs = [training_log.read(self.workspace.layout.log(split)) for split in self.running.values()]
        return [log.share for log in logs if log.is_running(now)]

    def _stop(self) -> None:
        """Ends what is in training for this campaign, on workers that live on as well."""
        import threading

        if self.client.status != "running":
            return

        def stop() -> None:
            self.client.cancel(list(self.running))
            self.client.run(stop_training, str(self.workspace.layout.root.resolve()), on_error="ignore")

        # A worker that does not answer must not keep the coordinator.
        thread = threading.Thread(target=stop, daemon=True)
        thread.start()
        thread.join(STOP_S)
