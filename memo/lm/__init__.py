"""The language-model engine: the only part of memo that imports torch.

tokens      text to token ids            batches     documents to windows to padded batches
model       configuration and weights    readout     logits and loss in chunks
device      where and how exactly        train       one model on one split
evaluate    every document's loss        state       what changes from step to step
checkpoint  a training goes on           weights     a trained model that others can open
"""
