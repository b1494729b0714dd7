# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # A rule of one's own
#
# A rule says which documents are kept or left out *together*. It is a function of the documents: it gives a label to
# each of them, and documents with one label are a group. This notebook writes one, checks it, looks at its groups, and
# scores them from models that are already trained.

# %%
import os

import numpy as np
import pandas as pd

import memo
from memo.testing import check_rule

pd.set_option("display.html.use_mathjax", False)
campaign = memo.open(os.environ.get("MEMO_CAMPAIGN", "../../campaigns/demo"))
documents = campaign.documents()
documents[["doc_id", "text", "n_tokens"]].head()

# %% [markdown]
# ## Write it
#
# Documents that begin with the same two words belong together. A document that shares its beginning with no other one
# gets no label: it stands in no group.


# %%
@memo.rule("opening")
def opening(documents, words=2):
    """Documents that begin with the same words."""
    first = documents["text"].str.lower().str.split(n=words).str[:words].str.join(" ")
    return first.where(first.duplicated(keep=False) & (first != ""))


# %% [markdown]
# ## Check it
#
# `check_rule` runs the rule on a handful of awkward documents: empty ones, copies, controls, texts in another order. It
# raises and says what is wrong, or returns the groups. Here is a rule that depends on the order of the documents, which
# would make its groups a matter of chance.

# %%
check_rule(opening)


# %%
@memo.rule("thirds")
def thirds(documents):
    """Every third document."""
    return pd.Series(np.arange(len(documents)) % 3, index=documents.index).astype(str)


try:
    check_rule(thirds)
except memo.MemoError as error:
    print(error)

# %% [markdown]
# ## Look at its groups
#
# The same check on the documents of the campaign returns the groups that a campaign would have.

# %%
groups = check_rule(opening, documents)
groups.groupby("group_id").size().sort_values(ascending=False).head(10)

# %% [markdown]
# ## Score it
#
# A group's score needs models that had all of it, and models that had none of it. The splits of this campaign were
# drawn for other rules, so only those count in which the group *happens* to be whole: many for a small group, none for
# a large one. That is why a rule that matters should be known before the models are trained.

# %%
included, losses = campaign.included(), campaign.losses()
members = [documents.index[documents["doc_id"].isin(rows)] for _, rows in groups.groupby("group_id")["doc_id"]]
whole = np.stack([included[:, rows].all(axis=1) for rows in members], axis=1)
absent = np.stack([~included[:, rows].any(axis=1) for rows in members], axis=1)
of_group = np.stack([losses[:, rows].mean(axis=1) for rows in members], axis=1)

# %%
found = memo.estimators.memorization(of_group, whole, whole | absent)
table = pd.DataFrame({"group_id": sorted(groups["group_id"].unique()), "documents": [len(rows) for rows in members]})
table.assign(memorization=found.memorization, se=found.se, n_in=found.n_in, n_out=found.n_out).round(3)

# %% [markdown]
# Where a side is empty the score is missing, never zero. These rows are also no fair sample of splits: a group that is
# whole in a split of a *ladder* was often taken whole by a coarser coin. A campaign that knows the rule does better:
#
#     memo group campaigns/demo --add my_rules.py:opening      scores it from the models that are there, with its limits
#
#     rules: [exact, my_rules.py:opening]                      in the campaign file, before anything is trained
#     design: {splits: 48, unit: opening}
