"""Whole campaigns through the command line: run, go on, grow, refuse, and the same result whatever happens."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import memo
from memo.errors import DamagedError, UsageError
from memo.layout import Layout, record_path
from memo.tables import COLUMNS

SETTINGS = """
corpus: {path: corpus.jsonl, metadata: [kind]}
evaluation: {path: held_out.txt, document_per: line}
tokenizer: {vocab_size: 300}
context_tokens: 32
rules: [exact]
design: {splits: 4, block: 4, unit: exact}
model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2}
training: {epochs: 3, batch_size: 4, learning_rate: 5e-3, evaluate_at: [1]}
"""


def command(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-P", "-m", "pipelines.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, timeout=300)


def run(*arguments: object) -> str:
    result = command(*arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(code: int, *arguments: object) -> str:
    """The one line of an error."""
    result = command(*arguments)
    errors = [line for line in result.stderr.splitlines() if line.startswith("memo: error: ")]
    assert result.returncode == code and len(errors) == 1, (result.returncode, result.stderr)
    assert "Traceback" not in result.stderr
    return errors[0].removeprefix("memo: error: ")


def contents(root: Path, pattern: str = "**/*") -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.glob(pattern)) if path.is_file()}


def stamps(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a campaign file, a corpus with one exact copy, and texts that are held out."""
    folder = tmp_path_factory.mktemp("project")
    rng = np.random.default_rng(0)
    words = [f"word{index}" for index in range(60)]
    texts = [" ".join(rng.choice(words, size=rng.integers(5, 60))) for _ in range(19)]
    records = [{"id": f"t{i}", "text": text, "kind": "odd" if i % 2 else None} for i, text in enumerate(texts)]
    records.append({"id": "copy", "text": f"  {texts[3]}\n", "kind": "copy"})
    (folder / "corpus.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "held_out.txt").write_text("one held out text\nanother one\n")
    (folder / "campaign.yaml").write_text(SETTINGS)
    return folder


@pytest.fixture(scope="module")
def reference(project: Path) -> Path:
    """An undisturbed run."""
    run("run", project / "campaign.yaml", "--dir", project / "reference")
    return project / "reference"


def test_a_run_leaves_a_complete_campaign(reference: Path) -> None:
    status = json.loads(run("status", reference, "--json"))
    assert status["complete"] and status["running"] is None
    assert status["stages"]["train"] == {"done": 4, "total": 4, "failed": 0, "stale": 0}
    assert status["corpus"]["kept"] == 20 and status["corpus"]["evaluation_kept"] == 2
    assert not list(reference.rglob("*.tmp-*")) and not (reference / ".lock").exists()


def test_tables_agree_with_losses_and_coins(reference: Path) -> None:
    campaign = memo.open(reference)
    included, losses = campaign.included(), campaign.losses().astype(float)
    assert losses.shape == included.shape == (4, 20)
    assert campaign.evaluation_losses().shape == (4, 2)
    assert (included.sum(axis=0) == 2).all()
    copies = [campaign.doc_ids.index("t3"), campaign.doc_ids.index("copy")]
    assert (included[:, copies[0]] == included[:, copies[1]]).all()
    table = campaign.scores("exact")
    assert list(table.columns) == list(COLUMNS) and len(table) == 20
    expected = [losses[~included[:, d], d].mean() - losses[included[:, d], d].mean() for d in range(20)]
    np.testing.assert_allclose(table["memorization"], expected, atol=1e-12)
    on_the_fly = campaign.scores("exact", evaluation=-1)
    np.testing.assert_array_equal(table["memorization"], on_the_fly["memorization"])
    assert table["memorization"].mean() > campaign.scores("exact", evaluation=0)["memorization"].mean()
    by_document = campaign.scores("document").set_index("doc_id")
    assert np.isnan(by_document.loc["copy", "memorization"]) and "together" in by_document.loc["copy", "reason"]


@pytest.mark.parametrize("evaluation", [2, -3, 1.0, "last", True, [0]])
def test_an_evaluation_that_is_not_there_is_named(reference: Path, evaluation: Any) -> None:
    with pytest.raises(UsageError) as error:
        memo.open(reference).scores("exact", evaluation=evaluation)
    assert str(error.value) == f"evaluation: expected one of 2 (0 to 1), found {evaluation!r}"


def test_scores_are_printed_for_people_scripts_and_spreadsheets(reference: Path) -> None:
    rows = json.loads(run("scores", reference, "--rule", "exact", "--top", 3, "--json"))
    assert [list(row) for row in rows] == [list(COLUMNS)] * 3
    assert rows[0]["memorization"] >= rows[1]["memorization"] and rows[0]["reason"] is None
    lines = run("scores", reference, "--csv").splitlines()
    assert lines[0].split(",") == list(COLUMNS) and len(lines) == 21
    assert "memorization" in run("scores", reference)
    assert "known: document, exact" in refused(2, "scores", reference, "--rule", "frogs")


def test_one_document_is_shown_with_its_group(reference: Path) -> None:
    data = json.loads(run("show", reference, "copy", "--json"))
    assert data["groups"] == {"exact": ["t3", "copy"]} and data["metadata"] == {"kind": "copy"}
    assert [row["epoch"] for row in data["by_epoch"]] == [1, 3]
    assert "most memorized of" in run("show", reference, "copy")
    assert "did you mean 'copy'" in refused(2, "show", reference, "cpoy")


def test_tokens_have_scores_of_their_own(reference: Path) -> None:
    campaign = memo.open(reference)
    texts = campaign.documents().set_index("doc_id")["text"]
    for rule in campaign.rules():
        scores = campaign.scores(rule).set_index("doc_id")
        for doc_id in campaign.doc_ids:
            tokens = campaign.token_scores(doc_id, rule)
            assert len(tokens) == scores.loc[doc_id, "n_tokens"]
            for name in ("memorization", "loss_in", "loss_out"):
                np.testing.assert_allclose(tokens[name].mean(), scores.loc[doc_id, name], atol=2e-6)
            assert [texts[doc_id][a:b] for a, b in zip(tokens["start"], tokens["end"], strict=True)] == list(
                tokens["token"]
            )
    found = json.loads(run("show", reference, "copy", "--json"))["tokens"]
    assert found["rule"] == "exact"  # by its own coin it has no score
    assert len(found["rows"]) == len(campaign.token_scores("copy", "exact"))
    held_out = campaign.evaluation_texts()["doc_id"].tolist()
    means = np.stack([campaign.token_losses(doc_id).mean(axis=1) for doc_id in held_out], axis=1)
    np.testing.assert_allclose(means, campaign.evaluation_losses(), atol=2e-6)
    for _, control in campaign.controls().iterrows():
        tokens = campaign.token_scores(control["doc_id"])
        np.testing.assert_allclose(tokens["memorization"].mean(), control["memorization"], atol=2e-6)
    with pytest.raises(UsageError, match="expected an identifier of this campaign, found 'cpoy'"):
        campaign.token_scores("cpoy")


def test_running_it_again_changes_no_file(project: Path, reference: Path) -> None:
    before = stamps(reference)
    assert "already complete" in run("run", project / "campaign.yaml", "--dir", reference)
    assert stamps(reference) == before


def test_a_finished_campaign_is_checked_without_heavy_imports(project: Path, reference: Path) -> None:
    script = (
        "import sys; sys.argv = ['memo', 'run', sys.argv[1], '--dir', sys.argv[2]]\n"
        "from pipelines.cli import main\n"
        "try: main()\n"
        "except SystemExit: print([m for m in ('torch', 'distributed', 'pandas') if m in sys.modules])\n"
    )
    line = [sys.executable, "-c", script, str(project / "campaign.yaml"), str(reference)]
    assert subprocess.run(line, capture_output=True, text=True).stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_workers_do_not_change_the_result(project: Path, reference: Path) -> None:
    root = project / "one-worker"
    run("run", project / "campaign.yaml", "--dir", root, "--set", "cluster.workers=1")
    assert contents(root, "losses/*.safetensors") == contents(reference, "losses/*.safetensors")
    assert contents(root, "scores/*.parquet") == contents(reference, "scores/*.parquet")


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["corpus", "losses", "after"])
def test_a_killed_run_goes_on_to_the_same_scores(project: Path, reference: Path, moment: str) -> None:
    root = project / f"killed-{moment}"
    line = [sys.executable, "-P", "-m", "pipelines.cli", "run", project / "campaign.yaml", "--dir", root]
    process = subprocess.Popen(
        [*map(str, line)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    awaited = {"corpus": root / "corpus", "losses": root / "logs", "after": root / "losses"}[moment]
    deadline = time.monotonic() + 120
    while not (awaited.is_dir() and any(awaited.iterdir())) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = stamps(root / "losses") if (root / "losses").exists() else {}
    finished = {p: t for p, t in done.items() if f"{p}.record.json" in done}
    run("run", project / "campaign.yaml", "--dir", root)
    assert contents(root, "scores/*.parquet") == contents(reference, "scores/*.parquet")
    assert finished.items() <= stamps(root / "losses").items()
    assert not list(root.rglob("*.tmp-*"))


@pytest.mark.slow
def test_damage_is_mended_by_the_same_command(project: Path, reference: Path) -> None:
    root = project / "damaged"
    subprocess.run(["cp", "-a", str(reference), str(root)], check=True)
    losses = root / "losses" / "split-00002.safetensors"
    content = bytearray(losses.read_bytes())
    content[-5] ^= 1
    losses.write_bytes(content)
    (root / "losses" / "split-00001.safetensors.record.json").unlink()
    run("run", project / "campaign.yaml", "--dir", root)
    assert contents(root, "losses/*.safetensors") == contents(reference, "losses/*.safetensors")
    assert contents(root, "scores/*.parquet") == contents(reference, "scores/*.parquet")


def test_more_splits_and_another_rule_keep_what_is_there(project: Path, reference: Path) -> None:
    root = project / "grown"
    subprocess.run(["cp", "-a", str(reference), str(root)], check=True)
    (project / "my_rules.py").write_text(
        "import memo\n\n@memo.rule('odd')\ndef odd(documents):\n    return documents['kind']\n"
    )
    config = project / "grown.yaml"
    config.write_text(SETTINGS.replace("rules: [exact]", "rules: [exact, my_rules.py:odd]"))
    losses = stamps(root / "losses")
    run("run", config, "--dir", root)
    assert stamps(root / "losses") == losses
    assert set(memo.open(root).scores("odd")["group_id"]) == {"odd", "copy"}
    run("run", config, "--dir", root, "--set", "design.splits=8")
    assert losses.items() <= stamps(root / "losses").items()
    grown, first = memo.open(root), memo.open(reference)
    np.testing.assert_array_equal(grown.included()[:4], first.included())
    np.testing.assert_array_equal(grown.losses()[:4], first.losses())
    assert grown.scores("exact")["n_in"].unique().tolist() == [4]
    assert "design.splits: the campaign has 8, now asked for 4" in refused(2, "run", config, "--dir", root)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.learning_rate=1e-3", "training.learning_rate: the campaign has 0.005, now asked for 0.001"),
        ("model.n_layer=2", "model.n_layer: the campaign has 1, now asked for 2"),
        ("corpus.limit=10", "corpus.0.limit: the campaign has null, now asked for 10"),
        ("design.include=0.75", "design.include: the campaign has 0.5, now asked for 0.75"),
        ("design.unit=document", "design.unit"),
        ("context_tokens=64", "context_tokens: the campaign has 32, now asked for 64"),
        ("seed=1", "seed: the campaign has 0, now asked for 1"),
    ],
)
def test_a_changed_setting_is_refused_with_both_values(
    project: Path, reference: Path, setting: str, message: str
) -> None:
    before = stamps(reference)
    assert message in refused(2, "run", project / "campaign.yaml", "--dir", reference, "--set", setting)
    assert stamps(reference) == before


@pytest.mark.slow
def test_stages_one_by_one_make_the_same_campaign(project: Path, reference: Path) -> None:
    root = project / "stages"
    run("ingest", project / "campaign.yaml", "--dir", root)
    assert "run `memo sample` first" in refused(1, "train", root)
    for stage in ("group", "sample", "train"):
        run(stage, root)
    assert "memo aggregate" in refused(1, "scores", root)
    run("aggregate", root)
    assert contents(root, "scores/*.parquet") == contents(reference, "scores/*.parquet")


def test_a_stage_that_finds_nothing_to_do_says_so(reference: Path) -> None:
    before = contents(reference)
    lines = (("train",), ("aggregate",), ("aggregate", "--quiet"), ("train", "--splits", "1-2"))
    said = [command(line[0], reference, *line[1:]).stderr for line in lines]
    told = ["train: 4 of 4 done before\n", "aggregate: 2 of 2 done before\n", ""]
    assert said == [*told, "train: 2 of 2 done before\n"]
    assert contents(reference) == before


def test_a_stage_that_mends_a_file_does_not_say_that_it_was_done(reference: Path, tmp_path: Path) -> None:
    root = shutil.copytree(reference, tmp_path / "c")
    path = Layout(root).scores("exact")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"?")
    said = command("aggregate", root).stderr
    assert "aggregate: 1 rule, " in said and "done before" not in said
    assert path.read_bytes() == whole


def test_what_was_interrupted_is_told(reference: Path, tmp_path: Path) -> None:
    root = shutil.copytree(reference, tmp_path / "c")
    layout = Layout(root)
    assert "nothing is running" not in run("status", root)
    for path in (layout.losses(1), record_path(layout.losses(1))):
        path.unlink()
    layout.checkpoints(1).mkdir(parents=True)
    for step in (7, 12):
        record_path(layout.checkpoints(1) / f"step-{step:08d}.safetensors").write_text("{}")
    assert json.loads(run("status", root, "--json"))["interrupted"] == {"1": 12}
    told = run("status", root)
    assert "nothing is running here; memo run, or the next stage, goes on from what is there\n" in told
    assert "split 1: interrupted, has a checkpoint of step 12\n" in told


def test_a_campaign_file_that_was_edited_is_named(reference: Path, tmp_path: Path) -> None:
    root = shutil.copytree(reference, tmp_path / "c")
    config = root / "campaign.yaml"
    text = config.read_text()
    config.write_text(text.replace("learning_rate: 0.005", "learning_rate: 0.01"))
    told = "training.learning_rate: the campaign has 0.005, now asked for 0.01"
    assert f"campaign.yaml: its files were made with other settings: {told}" in refused(1, "verify", root)
    findings = json.loads(command("verify", root, "--json").stdout)["findings"]
    assert [finding["path"] for finding in findings] == ["campaign.yaml"]
    before = contents(root)
    assert told in refused(2, "verify", root, "--repair")
    assert contents(root) == before
    config.write_text(text)
    assert json.loads(run("verify", root, "--json"))["findings"] == []


@pytest.mark.parametrize("name", ["corpus/documents.parquet", "scores/exact.parquet"])
def test_a_table_that_cannot_be_read_is_named(reference: Path, tmp_path: Path, name: str) -> None:
    root = shutil.copytree(reference, tmp_path / "c")
    (root / name).write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DamagedError, match=f"{name}: damaged, it cannot be read; memo verify says what else is"):
        memo.open(root).scores("exact", evaluation=-1 if "corpus" in name else None)


def test_kept_weights_open_in_transformers_and_give_the_same_losses(project: Path, reference: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    root = project / "weights"
    run("run", project / "campaign.yaml", "--dir", root, "--set", "training.keep_weights=true")
    assert contents(root, "losses/*.safetensors") == contents(reference, "losses/*.safetensors")
    campaign = memo.open(root)
    folder = campaign.layout.weights(0)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    position = int(np.argmin(campaign.n_tokens))  # a document of one window
    assert campaign.n_tokens[position] <= 32
    tokens = tokenizer(campaign.documents()["text"][position], return_tensors="pt").input_ids
    import torch

    window = torch.cat([torch.tensor([[tokenizer.bos_token_id]]), tokens], dim=1)
    loss = model.eval()(input_ids=window, labels=window).loss.item()
    assert loss == pytest.approx(float(campaign.losses()[0, position]), abs=1e-5)


def test_two_runs_on_one_directory(project: Path) -> None:
    root = project / "two"
    line = [sys.executable, "-P", "-m", "pipelines.cli", "run", project / "campaign.yaml", "--dir", root]
    first = subprocess.Popen([*map(str, line)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (root / ".lock").exists() and first.poll() is None:
        time.sleep(0.01)
    assert f"in use by process {first.pid}" in refused(1, "run", project / "campaign.yaml", "--dir", root)
    assert json.loads(run("status", root, "--json"))["running"]["pid"] == first.pid if first.poll() is None else True
    assert first.wait(timeout=120) == 0


@pytest.fixture
def _heeded_interrupts() -> Iterator[None]:
    """A shell starts background jobs with SIGINT ignored, and what they start inherits that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heeded_interrupts")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_so_in_one_line_and_goes_on(project: Path, number: signal.Signals, code: int) -> None:
    root = project / f"stopped-{code}"
    line = [sys.executable, "-P", "-m", "pipelines.cli", "run", project / "campaign.yaml", "--dir", root]
    sets = ["--set", "training.epochs=400"]
    with subprocess.Popen(
        [*map(str, line), *sets], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while not (root / "logs").is_dir() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(1.0)
        # Ctrl-C on a terminal reaches every process of the group.
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        started = time.monotonic()
        errors = process.stderr.read() if process.stderr else ""
        assert process.wait(timeout=30) == code and time.monotonic() - started < 10
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == "memo: error: stopped; the same command goes on"
    assert json.loads(run("status", root, "--json"))["running"] is None


@pytest.mark.parametrize("command", ["scores {} --csv | head -1", "scores {} | true", "status {} | true"])
def test_output_that_nobody_reads_is_no_error(reference: Path, command: str) -> None:
    line = f"{sys.executable} -P -m pipelines.cli {command.format(reference)}"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True)
    assert result.returncode == 0 and result.stderr == ""
