"""What a shell is offered for an option, from the campaign's file alone: as fast as the shell expects."""

from pathlib import Path

import typer


def rule_names(context: typer.Context, incomplete: str) -> list[str]:
    """Rules of the campaign that is named on the line; none where there is no campaign."""
    import yaml

    # The option that is being completed has no value yet, and the arguments before it are not assigned.
    directory = context.params.get("directory") or next(iter(context.args), None)
    try:
        settings = yaml.safe_load((Path(str(directory)) / "campaign.yaml").read_text(encoding="utf-8"))
        rules = settings.get("rules") or []
        names = ["document", *(rule if isinstance(rule, str) else str(rule["name"]) for rule in rules)]
    except (OSError, ValueError, AttributeError, KeyError, TypeError, yaml.YAMLError):
        return []  # a shell that is asked for names has no place for an error
    return [name for name in names if name.startswith(incomplete)]
