"""Losses of single tokens, where a campaign kept them (`training.keep_token_losses`).

    losses = token_losses(campaign, doc_id)              (M, n) nats
    table = token_scores(campaign, doc_id)               a row for each of the n tokens

A token is a target once, so the mean of a text's tokens is its loss. What is kept is of the last evaluation.

Shapes: M splits, n tokens of one text, K texts kept, D documents, evaluation texts and controls.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import safe_open

from memo.contrasts import contrast
from memo.errors import DamagedError, MemoError, UsageError
from memo.estimators import memorization
from memo.layout import Layout

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from memo.campaign import Campaign


class TokensNotKeptError(MemoError):
    """The models have kept no losses of single tokens of this text."""


def token_losses(campaign: "Campaign", doc_id: str, allow_partial: bool = False) -> NDArray[np.float32]:
    """(M, n) nats of every token of one text under every model that counts. Raises `TokensNotKeptError`."""
    return read_token_losses(campaign.layout, campaign.splits_that_count(allow_partial), _text(campaign, doc_id)[0])


def token_scores(
    campaign: "Campaign", doc_id: str, rule: str, group_id: str | None = None, allow_partial: bool = False
) -> pd.DataFrame:
    """Memorization of each token; see `Campaign.token_scores`."""
    column, text = _text(campaign, doc_id)
    splits = campaign.splits_that_count(allow_partial)
    losses = read_token_losses(campaign.layout, splits, column)
    sides = (side[splits, None] for side in _sides(campaign, doc_id, column, rule, group_id))
    treated, valid = (np.broadcast_to(side, losses.shape) for side in sides)
    found = memorization(losses, treated, valid, campaign.blocks(np.asarray(splits)))
    names = ("memorization", "se", "ci_low", "ci_high", "loss_in", "loss_out", "n_in", "n_out", "reason")
    table = spans(campaign.layout, column, text)[["token", "start", "end"]]
    table.insert(0, "position", np.arange(len(table)))
    return table.assign(**{name: getattr(found, name) for name in names})


def _text(campaign: "Campaign", doc_id: str) -> tuple[int, str]:
    """Column in the loss files, and text, of a document, an evaluation text or a control."""
    documents, held_out, controls = campaign.documents(), campaign.evaluation_texts(), campaign.control_texts()
    columns = (np.arange(len(documents)), len(documents) + np.arange(len(held_out)), controls["column"].to_numpy())
    for frame, column in zip((documents, held_out, controls), columns, strict=True):
        row = np.flatnonzero(frame["doc_id"].to_numpy() == doc_id)
        if len(row):
            return int(column[row[0]]), str(frame["text"].iloc[row[0]])
    raise UsageError(f"expected an identifier of this campaign, found {doc_id!r}; see documents()")


def _sides(
    campaign: "Campaign", doc_id: str, column: int, rule: str, group_id: str | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """In which splits the text was, and which of them count: (splits,) each."""
    control = np.flatnonzero(campaign.control_texts()["column"].to_numpy() == column)
    if len(control):
        treated = campaign.bits("controls")[:, control[0]]
        return treated, np.ones_like(treated)
    if column >= len(campaign.doc_ids):
        raise UsageError(f"{doc_id!r} is an evaluation text: no coin decides about it; see token_losses()")
    groups = campaign.scored_groups(rule)
    own = groups.group[groups.document == column]
    mine = [g for g in own if group_id in (None, groups.ids[g])]
    if len(mine) != 1:
        found = ", ".join(repr(groups.ids[g]) for g in own) or "none"
        raise UsageError(f"expected one group of rule {rule} with {doc_id!r}, found {found}; name it with group_id")
    coins = contrast(*campaign.decisions(), campaign.units, groups)
    return coins.treated[:, mine[0]], coins.valid[:, mine[0]]


def read_token_losses(layout: Layout, splits: Sequence[int], column: int) -> NDArray[np.float32]:
    """Nats of every token of one text under the models of these splits: (M, n).

    column: of the text in the loss files. Raises `TokensNotKeptError` where a split has not kept it.
    """
    n_tokens = _n_tokens(layout)
    missing = [split for split in splits if not layout.token_losses(split).exists()]
    if missing:
        raise TokensNotKeptError(
            f"{layout.root}: {len(missing)} of {len(splits)} models have kept no losses of single tokens (split "
            f"{missing[0]}); set training.keep_token_losses before they are trained"
        )
    return np.stack([_read(layout, split, column, n_tokens) for split in splits])


def _read(layout: Layout, split: int, column: int, n_tokens: NDArray[np.int64]) -> NDArray[np.float32]:
    path = layout.token_losses(split)
    with safe_open(path, framework="numpy") as file:
        texts = file.get_tensor("text")
        place = int(np.searchsorted(texts, column))
        if place == len(texts) or texts[place] != column:
            raise TokensNotKeptError(
                f"{path}: the losses of {len(texts):,} texts were kept by the token, this one's were not; "
                "training.keep_token_losses: all keeps every text's"
            )
        start = int(n_tokens[texts[:place]].sum())
        nll = file.get_slice("nll")
        stop = start + int(n_tokens[column])
        if stop > nll.get_shape()[0]:
            raise DamagedError(f"{path}: expected at least {stop:,} tokens, found {nll.get_shape()[0]:,}")
        found: NDArray[np.float32] = nll[start:stop]
        return found


def _n_tokens(layout: Layout) -> NDArray[np.int64]:
    """(D,)"""
    with safe_open(layout.tokens, framework="numpy") as file:
        return np.diff(file.get_tensor("offsets")).astype(np.int64)


def spans(layout: Layout, column: int, text: str) -> pd.DataFrame:
    """The tokens of a text as it was trained on: token_id, start, end (characters of the text), token.

    A character of several tokens belongs to each of them: a byte of it is no text of its own.
    """
    return spans_of(layout, {column: text})[column]


def spans_of(layout: Layout, texts: Mapping[int, str]) -> dict[int, pd.DataFrame]:
    """The same of many texts, by their columns in the loss files."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(layout.tokenizer / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # "encode them as text", despite the name
    with safe_open(layout.tokens, framework="numpy") as file:
        offsets, tokens = file.get_tensor("offsets"), file.get_slice("tokens")
        trained = {column: tokens[int(offsets[column]) : int(offsets[column + 1])] for column in texts}
    return {column: _spans(layout, tokenizer, trained[column], text) for column, text in texts.items()}


def _spans(layout: Layout, tokenizer: "Tokenizer", trained: NDArray[np.int32], text: str) -> pd.DataFrame:
    encoding = tokenizer.encode(text, add_special_tokens=False)
    if not np.array_equal(encoding.ids, trained):
        raise DamagedError(
            f"{layout.tokenizer}: expected the {len(trained)} tokens that were trained on, found {len(encoding.ids)} "
            "others; `memo verify` says what has changed"
        )
    places = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    return pd.DataFrame(
        {
            "token_id": trained,
            "start": places[:, 0],
            "end": places[:, 1],
            "token": [text[start:stop] for start, stop in places],
        }
    )


def read_many(layout: Layout, splits: Sequence[int], columns: Sequence[int]) -> dict[int, NDArray[np.float32]]:
    """Nats of every token of many texts, (M, n) each, by their columns in the loss files; opens each file once.

    A text that a split has not kept is left out, and so are all where a split has kept none.
    """
    if not splits or any(not layout.token_losses(split).exists() for split in splits):
        return {}
    n_tokens = _n_tokens(layout)
    found: dict[int, list[NDArray[np.float32]]] = {column: [] for column in columns}
    for split in splits:
        with safe_open(layout.token_losses(split), framework="numpy") as file:
            texts, nll = file.get_tensor("text"), file.get_slice("nll")
            starts = np.concatenate([[0], np.cumsum(n_tokens[texts])])
            for column in columns:
                place = int(np.searchsorted(texts, column))
                if place < len(texts) and texts[place] == column:
                    found[column].append(nll[int(starts[place]) : int(starts[place + 1])])
    return {column: np.stack(rows) for column, rows in found.items() if len(rows) == len(splits)}
