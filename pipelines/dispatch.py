"""Hands splits to workers, one per free slot, and finds out who is to blame when something dies.

A worker that dies takes its task along, and Dask gives the task to another worker. A split whose process dies again and
again is to blame itself: after the retries it has failed, and the others go on. Only as many tasks are out as there are
slots, because Dask also blames those that merely wait in the queue of a worker that dies.

Whether a split is done is read from the disk, never from what a worker answered.
"""

import contextlib
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from memo import __version__
from memo.errors import MemoError, UsageError
from memo.layout import checkpoint_steps
from pipelines import training_log
from pipelines.progress import Bar, Reporter
from pipelines.worker import MachineError, ProcessDied, stop_training, train_split
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from distributed import Client, Future

POLL_S = 0.5
STOP_S = 5.0  # for workers to end their training when the coordinator is stopped
UNBLAMED = 10  # deaths of workers that a split may survive without having been seen at work on one of them
MEET_S = 10.0  # for workers to say what they have installed
LATE_S = 60.0  # until a network file system shows what a worker on another host has written
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
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:12])  # of this coordinator, on the workers
    begun: float = field(default_factory=time.time)
    met: set[str] = field(default_factory=set)  # addresses of workers that were asked whether they can train
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
                self.name,
                # One scheduler may serve several coordinators; a key that was tried would give the old answer.
                key=f"train-{self.name}-{split:05d}-{attempt}",
                resources=resources,
                pure=False,
                retries=0,
            )
            self.running[future] = split

    def _slots(self) -> tuple[int, dict[str, float] | None]:
        """How many splits can train at once, and what each needs of a worker."""
        try:
            workers = self.client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, RuntimeError) as error:
            raise self._lost() from error
        self._meet(set(workers))
        gpus = sum(int(worker["resources"].get("GPU", 0)) for worker in workers.values())
        if gpus:
            return gpus, {"GPU": 1}
        return sum(worker["nthreads"] for worker in workers.values()), None

    def _meet(self, workers: set[str]) -> None:
        """Raises `UsageError` for a new worker, or a scheduler, that has no memo or another one.

        Without this a worker that cannot read its task closes, and the campaign waits for workers.
        """
        new = workers - self.met
        if not new:
            return
        answers = within(MEET_S, lambda: self.client.run(installed(), workers=sorted(new), on_error="return"))
        if not self.met:
            scheduler = within(MEET_S, lambda: self.client.run_on_scheduler(installed()))
            answers = {**(answers or {}), "the scheduler": scheduler or __version__}
        self.met |= new
        for where, version in (answers or {}).items():
            if version != __version__:
                found = version if isinstance(version, str) else "none"
                raise UsageError(f"{where}: expected memo {__version__}, found {found}; install the same memo there")

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
        if error is not None and self.workspace.split_done(split):
            return  # another coordinator's worker finished it
        if isinstance(error, UsageError | MachineError):
            raise error
        if isinstance(error, KilledWorker):
            self._blame_or_not(error, split)
        elif isinstance(error, ProcessDied):
            self._blame(split, str(error), 1)
        elif error is not None:
            self._fail(split, " ".join(str(error).split()))
        elif not self._appears(split):
            self._blame(split, "the worker says that it is done, but its losses are not on this disk", 1)

    def _appears(self, split: int) -> bool:
        """Whether a split is done, as seen from here: a network file system may show new files late."""
        folder = self.workspace.layout.losses(split).parent
        deadline = time.monotonic() + LATE_S
        while not self.workspace.split_done(split):
            if time.monotonic() > deadline or not folder.is_dir():
                return False
            time.sleep(POLL_S)
            list(folder.iterdir())  # asks the server again
        return True

    def _blame_or_not(self, death: Any, split: int) -> None:
        """A split is to blame for the death of a worker if it was the one that was trained there."""
        address = death.last_worker.address
        if training_log.read(self.workspace.layout.log(split)).last.get("worker") == address:
            self._blame(split, f"the worker {address} died", 1)
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
            self._fail(split, f"{message} ({self.tries[split]} of {self.tries[split]} tries)")
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
        return [log.share for log in logs if log.is_running(now) and log.last["time"] > self.begun]

    def _stop(self) -> None:
        """Ends what is in training for this campaign, on workers that live on as well."""
        if self.client.status != "running":
            return

        def stop() -> None:
            self.client.cancel(list(self.running))
            self.client.run(stop_training, self.name, on_error="ignore")

        within(STOP_S, stop)
        with contextlib.suppress(OSError):  # a full disk may be why it stops
            for split in self.running.values():
                training_log.append(self.workspace.layout.log(split), "stopped", split=split)


def installed() -> Callable[[], str]:
    """A function that says which memo a process has. It is sent as code, because the process may have none."""

    def version() -> str:
        try:
            from memo import __version__ as found
        except ImportError:
            return "none"
        return found

    return version


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """The result of a call, or None where it takes too long: a worker that hangs must not hold up the coordinator."""
    found: list[Any] = []

    def run() -> None:
        with contextlib.suppress(OSError, RuntimeError, TimeoutError):
            found.append(call())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else None
