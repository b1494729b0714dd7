"""memo measures what language models memorize, by the causal definition.

    import memo
    campaign = memo.open("campaigns/demo")
    campaign.scores(rule="document")

    @memo.rule("frogs")
    def frogs(documents): ...

Nothing heavy is imported until it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Campaign", "MemoError", "Rule", "estimators", "open", "rule", "testing"]

if TYPE_CHECKING:
    from memo import estimators, testing
    from memo.campaign import Campaign
    from memo.campaign import open_campaign as open
    from memo.errors import MemoError
    from memo.rules import Rule, rule

_HOMES = {
    "Campaign": ("memo.campaign", "Campaign"),
    "MemoError": ("memo.errors", "MemoError"),
    "Rule": ("memo.rules", "Rule"),
    "open": ("memo.campaign", "open_campaign"),
    "rule": ("memo.rules", "rule"),
    "estimators": ("memo.estimators", None),
    "testing": ("memo.testing", None),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'memo' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    loaded = import_module(module)
    return loaded if attribute is None else getattr(loaded, attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
