"""The `imported:` section of a campaign file, which `memo import` writes: losses and masks that were made elsewhere."""

from pydantic import Field

from memo.sections import Count, Section


class Imported(Section):
    """Where the numbers of a campaign came from that memo did not train. It has no corpus to read, nothing to train."""

    files: dict[str, str] = Field(description="what they were read from, by what it holds; never read again")
    sha256: dict[str, str] = Field(description="checksums of these files")
    blocks: tuple[Count, ...] = Field(
        description="models in each block, in their order; with two blocks or more, standard errors are stratified"
    )
    scored: bool = Field(
        description="the documents trained on are among the texts evaluated: they have memorization scores, "
        "and losses/ holds them first; else it holds other texts alone, and there is only influence"
    )
    n_tokens: bool = Field(description="the number of tokens of every document is known")
    accuracy: bool = Field(description="how many next tokens were predicted right is known")

    def source(self) -> dict[str, object]:
        """What decides whether two imports are of the same numbers: not where the files lay."""
        return self.model_dump(mode="json", exclude={"files"})
