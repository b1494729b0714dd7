"""What to look at before any score: do the controls hold, are all models there, and are they enough?

Each check is good, a warning, bad, or unknown, with one sentence of numbers and one of what they mean.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from memo.spectrum_controls import LEVEL, FalseCalls
from memo.store import read_record

if TYPE_CHECKING:
    from memo.campaign import Campaign

State = Literal["good", "warning", "bad", "unknown"]
WORDS: dict[State, str] = {"good": "holds", "warning": "look here", "bad": "fails", "unknown": "not known"}
FAR_TOO_MANY = 0.001  # probability of so many significant phantoms by chance, below which scores are not believed
MANY = 0.05


@dataclass(frozen=True)
class Check:
    name: str
    state: State
    found: str
    meaning: str

    @property
    def word(self) -> str:
        return WORDS[self.state]


@dataclass(frozen=True)
class Models:
    """How many models the scores are from, and what became of the others."""

    used: int
    planned: int
    diverged: int
    unpaired: int = 0  # there, but not the model of the opposite split, without which it does not count

    @property
    def missing(self) -> int:
        """None of these: they failed, or were not trained."""
        return max(0, self.planned - self.used - self.diverged - self.unpaired)

    @property
    def partial(self) -> bool:
        return self.used < self.planned

    def __str__(self) -> str:
        return f"{self.used:,} of {self.planned:,} models" if self.partial else f"{self.used:,} models"


def models_of(campaign: "Campaign", attributes: dict[Any, Any]) -> Models:
    """attributes: of the score table, which says how many models it is from."""
    design = campaign.config.design
    planned = int(attributes.get("of", design.splits))
    records = (read_record(campaign.layout.losses(split)) for split in range(planned))
    diverged = sum(record is not None and "diverged" in record.notes for record in records)
    trained = campaign.trained_splits()
    unpaired = len(trained) - len(design.scored(trained))
    return Models(int(attributes.get("models", planned - diverged)), planned, diverged, unpaired)


def all_checks(
    diagnostics: dict[str, Any] | None, models: Models, false_calls: FalseCalls | None = None
) -> list[Check]:
    """Controls first. false_calls: verdicts on phantoms, where there are any."""
    controls = _controls(diagnostics)
    spectrum = [] if false_calls is None else [_of_spectrum(false_calls)]
    return [next(controls), *spectrum, *controls, _of_models(models), *_reliability(diagnostics)]


def _controls(diagnostics: dict[str, Any] | None) -> Iterator[Check]:
    controls = {} if diagnostics is None else diagnostics["controls"]
    yield _phantoms(controls.get("phantoms", {}))
    yield _canaries(controls.get("canaries", {}))


def _phantoms(found: dict[str, Any]) -> Check:
    meaning = "Phantoms are texts that get coins and are never trained on. Their scores show what chance alone gives."
    if not found.get("number"):
        return Check("Phantoms", "unknown", "This campaign has none that could be scored.", meaning)
    chance = found["p_value"]
    state: State = "good"
    if chance is None:
        state = "unknown"
    elif chance < FAR_TOO_MANY:
        state, meaning = "bad", f"{meaning} These are far too many: do not believe the scores."
    elif chance < MANY:
        state, meaning = "warning", f"{meaning} So many are rare by chance (p = {chance:.2g})."
    told = (
        f"{found['number']:,} texts that no model saw score {found['mean']:+.3f} nats on average; "
        f"{found['significant']:,} have p < 0.05, {found['expected_significant']:.1f} are expected."
    )
    return Check("Phantoms", state, told, meaning)


def _canaries(found: dict[str, Any]) -> Check:
    meaning = "Canaries are planted texts with known numbers of copies: the more copies, the higher the score."
    means = [(int(copies), mean) for copies, mean in found.get("mean_by_copies", {}).items() if mean is not None]
    if not means:
        return Check("Canaries", "unknown", "This campaign has none that could be scored.", meaning)
    means.sort()
    told = ", ".join(f"{copies} {'copy' if copies == 1 else 'copies'}: {mean:.2f}" for copies, mean in means)
    rises = means[-1][1] > 0 and (len(means) == 1 or means[-1][1] > means[0][1])
    state: State = "good" if rises else "warning"
    return Check("Canaries", state, f"{found['number']:,} planted texts; mean score by copies: {told}.", meaning)


def _of_spectrum(found: FalseCalls) -> Check:
    """Verdicts on texts that no model saw."""
    meaning = f"Intervals hold together with 95 % confidence: at most {found.expected:.1f} of these are expected."
    told = (
        f"{found.phantoms:,} phantoms in the places of documents: {found.memorized_at_zero:,} are called memorized at "
        f"a margin of 0, {found.memorized:,} at the margin of this page."
    )
    chance = _at_least(found.memorized_at_zero, found.phantoms)
    state: State = "bad" if chance < FAR_TOO_MANY else "warning" if chance < MANY else "good"
    return Check("Phantoms on the spectrum", state, told, meaning)


def _at_least(count: int, tests: int) -> float:
    """The chance of so many or more where each has LEVEL."""
    from scipy.stats import binom

    return float(binom.sf(count - 1, tests, LEVEL))


def _of_models(models: Models) -> Check:
    meaning = "A model whose loss turned NaN or infinite has diverged; it enters no mean."
    if not models.partial:
        return Check("Models", "good", f"All {models.planned:,} models are there; none diverged.", meaning)
    parts = [f"{models.diverged:,} diverged"] if models.diverged else []
    parts += [f"{models.missing:,} failed or are not trained"] if models.missing else []
    parts += [f"{models.unpaired:,} lack the model of the opposite split"] if models.unpaired else []
    meaning += " Scores from fewer models are right where models are missing at random: memo status DIR --missing."
    return Check("Models", "warning", f"{models}: {', '.join(parts) or 'some do not count'}.", meaning)


def _reliability(diagnostics: dict[str, Any] | None) -> Iterator[Check]:
    for name, rule in ({} if diagnostics is None else diagnostics["rules"]).items():
        yield _enough(name, rule)


def _enough(name: str, rule: dict[str, Any]) -> Check:
    title = f"Enough models for rule {name}?"
    if rule["median_se"] is None:
        return Check(title, "unknown", "No group of this rule has a standard error.", "")
    gap = rule["resolvable_gap"]
    shows = "" if gap is None else f", so a score of {gap:.2f} shows"
    told = f"The median standard error is {rule['median_se']:.3f} nats{shows}."
    if rule["reliability"] is None:
        return Check(title, "unknown", told, "Too few models to cut into halves and compare.")
    told += f" Two campaigns of {rule['models']:,} models would rank alike at {rule['reliability']:.2f}."
    wanted, target = rule["models_for_target"], rule["target"]
    if rule["reliability"] >= target:
        return Check(title, "good", told, f"1 is the same order; {target:g} is wanted.")
    takes = f"it takes {wanted:,} models" if wanted is not None else "no number of models reaches it"
    return Check(title, "warning", told, f"1 is the same order; {target:g} is wanted, and {takes}.")
