"""The language-model engine: the only part of memo that imports torch.

tokens      text to token ids            batches     documents to windows to padded batches
model       configuration and weights    readout     logits and loss in chunks
device      where and how exactly        train       one model on one split
evaluate    every document's loss        state       what changes from step to step
checkpoint  a training goes on           weights     a trained model that others can open
attention   bfloat16 on a CPU            size        of a model, without making it
environment of a process that trains

Many models side by side, on a GPU:

stacks              any number of splits, stacked or not     stack_width         how many side by side
stack_memory        what a member takes
stack               one stack from start to end              stack_schedule      who reads what when
stack_step          one step, plain or recorded              stack_state         what a checkpoint holds
stackable           which models, and the check              acceleration        recorded, compiled or neither
stacked_model       forward pass of all members              stacked_attention   one kernel for all
stacked_weights     all weights in one tensor                stacked_readout     logits of all in chunks
stacked_optimizer   AdamW with a rate for each               stacked_evaluate    every document, all members
"""
