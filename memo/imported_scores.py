"""The score table of numbers that were made elsewhere: what their files do not say is missing in it, and never 0."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from memo.import_settings import Imported
from memo.tables import ScoredRule

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS_OF = {
    "n_tokens": ("removed_share", "n_tokens"),
    "accuracy": ("accuracy_in", "accuracy_out", "memorization_accuracy"),
}


@dataclass(frozen=True)
class ImportedRule(ScoredRule):
    """As any other rule, but for the columns that are not known."""

    missing: tuple[str, ...] = ()  # of n_tokens and accuracy

    @property
    def unknown(self) -> tuple[str, ...]:
        return tuple(column for kind in self.missing for column in COLUMNS_OF[kind])

    def table(self, *parts: Any) -> "pa.Table":
        import pyarrow as pa
        import pyarrow.compute as pc

        table = super().table(*parts)
        for name in self.unknown:
            position, kind = table.schema.get_field_index(name), table.schema.field(name).type
            table = table.set_column(position, name, pa.nulls(len(table), kind))
        if self.unknown:
            said = pc.fill_null(table["reason"], f"imported without {' and '.join(self.missing)}")
            table = table.set_column(table.schema.get_field_index("reason"), "reason", said)
        return table


def of_imported(scored: ScoredRule, imported: Imported) -> ScoredRule:
    """The rule of an imported campaign."""
    missing = tuple(kind for kind in COLUMNS_OF if not getattr(imported, kind))
    if not missing:
        return scored
    known = {field.name: getattr(scored, field.name) for field in fields(ScoredRule)}
    return ImportedRule(**known, missing=missing)
