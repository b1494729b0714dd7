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
# # A first look at a campaign
#
# `memo demo` trains 48 small models, each on a random half of some docstrings and some planted texts. This notebook
# looks at what came out. It reads the campaign and changes nothing in it; set `MEMO_CAMPAIGN` to look at another one
# that has the rules `exact` and `near`.

# %%
import os

import matplotlib.pyplot as plt
import pandas as pd

import memo
from analysis import plots
from memo.spectrum import corpus_spectrum

pd.set_option("display.html.use_mathjax", False)  # a document with dollar signs is no formula
campaign = memo.open(os.environ.get("MEMO_CAMPAIGN", "../../campaigns/demo"))
campaign

# %% [markdown]
# Read the card from the middle. The *phantoms* are texts that get coins like any document and are never trained on:
# their mean score should be near zero, and about one in twenty should be significant. If they are not, nothing below
# means anything. *Reliability* says how alike another campaign of the same size would rank the documents.

# %%
campaign.controls().groupby("kind")[["memorization", "se", "p_value"]].describe().loc[:, (slice(None), ["mean", "max"])]

# %%
figure, ax = plt.subplots(figsize=(7, 4))
plots.reliability(campaign.diagnostics(), ax)
plt.show()

# %% [markdown]
# ## Scores
#
# A score is the mean loss of the models that never saw a document minus the mean loss of those that did, in nats per
# token. Positive means memorized. Every score comes with an interval and with the number of models on either side.

# %%
scores = campaign.scores()
columns = ["doc_id", "memorization", "ci_low", "ci_high", "loss_in", "loss_out", "n_in", "n_out"]
scores.nlargest(5, "memorization")[columns]

# %%
figure, ax = plt.subplots(figsize=(7, 4))
plots.scores(scores, ax, phantoms=campaign.controls())
plt.show()

# %% [markdown]
# Memorized is not the same as hard. Simplicity is the mean performance of all models on a text, whether they trained
# on it or not; a text that every model predicts has nothing left to memorize.

# %%
figure, ax = plt.subplots(figsize=(7, 4))
plots.simplicity(scores.merge(campaign.simplicity(), on="doc_id"), ax)
plt.show()

# %% [markdown]
# ## What one copy hides
#
# Leave out one of several copies, and the models lose little: they still have the others. The rule `near` leaves the
# whole family of near-duplicates out together. Every point above the line is a text that is memorized although no
# single copy of it matters.

# %%
near = campaign.scores("near")
figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.5), layout="constrained")
plots.single_and_group(scores, near, left)
plots.group_size(near, right)
plt.show()

# %% [markdown]
# Here is one of them. Its words are coloured by how much more surprising each token is to models without it; below
# stand its scores under every rule, and its group with the words in which the near-duplicates differ.

# %%
families = near[near["group_size"] > campaign.scores("exact")["group_size"]]
campaign.document(families.nlargest(1, "memorization")["doc_id"].iloc[0])

# %% [markdown]
# ## From memorization to generalization
#
# The spectrum puts each document at the finest rule whose removal surely costs more than a margin. A document for
# which every rule surely costs less *generalizes*; the others are *undecided*, which is not the same.

# %%
spectrum = campaign.spectrum(margin=0.5)
figure, ax = plt.subplots(figsize=(7, 3))
plots.corpus_spectrum(corpus_spectrum(spectrum), ax)
plt.show()

# %% [markdown]
# ## While the models trained

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4), layout="constrained")
plots.by_epoch(campaign.by_epoch("near"), left)
plots.training_curves(campaign.training_log(), right)
plt.show()
