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
# # Did it memorize this passage?
#
# A question about a text becomes a question about documents: which of them hold it, and what do models lose that had
# none of them? This notebook goes from a passage to an answer with its interval, and says what the answer does not say.

# %%
import os

import matplotlib.pyplot as plt
import pandas as pd

import memo
from analysis import plots

pd.set_option("display.html.use_mathjax", False)
campaign = memo.open(os.environ.get("MEMO_CAMPAIGN", "../../campaigns/demo"))
documents = campaign.documents().set_index("doc_id")

# %% [markdown]
# ## The passage
#
# Any string will do. This one is the end of a planted text that was copied with small changes.

# %%
passage = documents.loc["planted:family:0:0", "text"][-40:]
passage

# %%
holding = documents[documents["text"].str.contains(passage, regex=False)]
holding[["text", "n_tokens"]]

# %% [markdown]
# ## The wrong answer
#
# Left out one by one, these documents seem to matter little.

# %%
columns = ["doc_id", "group_size", "memorization", "ci_low", "ci_high", "n_in", "n_out"]
alone = campaign.scores("document")
alone.loc[alone["doc_id"].isin(holding.index), columns]

# %% [markdown]
# The models that lost one of them had the others. `near` kept or left out the whole family:

# %%
together = campaign.scores("near")
answer = together[together["doc_id"].isin(holding.index)]
answer[columns]

# %% [markdown]
# ## Which words?
#
# The document's score is the mean of its tokens' scores. So look at the tokens of the passage alone, under the rule
# that removes all of its copies.

# %%
tokens = campaign.token_scores(holding.index[0], rule="near")
begin = documents.loc[holding.index[0], "text"].index(passage)
inside = tokens[tokens["end"] > begin]
inside[["token", "memorization", "ci_low", "ci_high", "loss_in", "loss_out"]].round(2)

# %% [markdown]
# ## Would we have seen it?
#
# A low score can mean that nothing was memorized, or that there were too few models to tell. The smallest score that
# the median document would show, and what chance alone gives to texts that no model saw:

# %%
resolvable = campaign.diagnostics()["rules"]["near"]["resolvable_gap"]
phantoms = campaign.controls().query("kind == 'phantom'")["memorization"]
pd.Series({"resolvable, nats": resolvable, "phantoms' mean": phantoms.mean(), "phantoms' largest": phantoms.max()})

# %% [markdown]
# ## The answer
#
# The spectrum weighs all rules together, with intervals that hold for all of them at once. *Memorized at* a rule takes
# a gap surely above the margin there, and surely below it at every finer rule. *Undecided* beside a large gap, as here,
# leaves open which of the rules it is, not whether something was memorized.

# %%
entries = campaign.spectrum(margin=0.5)
mine = entries[entries["doc_id"] == holding.index[0]]
figure, ax = plt.subplots(figsize=(8, 3))
plots.document_spectrum(mine, ax, margin=0.5)
plt.show()

# %%
row = answer.iloc[0]
print(
    f"Models without any of the {row.group_size} near-duplicates lose {row.memorization:.2f} nats per token on it,"
    f"\n95 % interval {row.ci_low:.2f} to {row.ci_high:.2f}, from {row.n_in} models with and {row.n_out} without them."
)

# %% [markdown]
# What this does not say: that a larger model, another corpus or another training would do the same; that the text can
# be *extracted* by prompting; or that the passage alone is to blame, for the whole documents were removed. For that
# last question make the passage a rule (`rule: substring`) and remove it with `design.knockout`.
