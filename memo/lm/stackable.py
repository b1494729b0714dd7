"""Whether models of this kind can be trained as a stack, and a comparison with the unstacked model before they are.

    reason = why_not(setup, device)              None, or why they have to be trained one by one

Some things are known to be wrong in a stack and refused by name: attention that is more than causal softmax, dropout
(there is no random stream per member under vmap), mixtures of experts (which token goes where depends on the data),
buffers that change. Everything else is not trusted either: a stack of two takes one step and is compared with two
models that take it alone, in loss, gradient and updated weights.

Shapes: E members (here two), B windows, T tokens.
"""

import json

import torch
from torch import nn
from transformers import PreTrainedModel

from memo.lm.attention import OtherAttentionError
from memo.lm.batches import IGNORED
from memo.lm.device import Device
from memo.lm.readout import Readout
from memo.lm.stacked_attention import NotStackableError
from memo.lm.stacked_model import StackedModel
from memo.lm.stacked_optimizer import StackedAdamW
from memo.lm.train import Setup, new_model, parameter_groups

CLOSE = 1e-5  # times the size of what is compared, where that is more than one
FELT = 1e-6  # a gradient below is rounding noise, to which AdamW's first step gives full weight
RATE = 1e-3
_known: dict[str, str | None] = {}


def why_not(setup: Setup, device: Device) -> str | None:
    """Remembered by the process for each kind of model and device."""
    key = json.dumps([dict(setup.model), setup.context_tokens, setup.vocab_size, device.kind, device.precision])
    if key not in _known:
        _known[key] = _why_not(setup, device)
    return _known[key]


def _why_not(setup: Setup, device: Device) -> str | None:
    first = new_model(setup, 0)
    reason = refused_by_name(first, setup.context_tokens)
    if reason is not None:
        return reason
    try:
        return _compare(setup, [_awake(first), _awake(new_model(setup, 1))], device)
    except torch.OutOfMemoryError:
        raise
    except (NotStackableError, OtherAttentionError) as error:
        return str(error)
    except Exception as error:  # vmap runs other people's code in a way that they did not foresee
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def refused_by_name(model: PreTrainedModel, context_tokens: int) -> str | None:
    """What its configuration and layers say."""
    config = model.config.to_dict()
    for name, value in config.items():
        if "drop" in name and isinstance(value, int | float) and value > 0:
            return f"it has dropout ({name} {value})"
        if "expert" in name and isinstance(value, int) and value > 1:
            return f"it is a mixture of experts ({name} {value})"
    if any(isinstance(layer, nn.Dropout) and layer.p > 0 for layer in model.modules()):
        return "it has dropout"
    if config.get("attn_logit_softcapping"):
        return f"its attention is soft-capped (attn_logit_softcapping {config['attn_logit_softcapping']})"
    window = config.get("sliding_window")
    if window and config.get("use_sliding_window", True) and window < context_tokens:
        return f"its attention slides (sliding_window {window} of {context_tokens} context_tokens)"
    other = sorted(
        {kind for kind in config.get("layer_types") or () if kind not in ("full_attention", "sliding_attention")}
    )
    if other:
        return f"it has layers of other kinds ({', '.join(other)})"
    if any("sink" in name for name, _ in model.named_parameters()):
        return "its attention has sinks"
    return None


@torch.no_grad()
def _awake(model: PreTrainedModel) -> PreTrainedModel:
    """With weights so large that attention looks at something: new ones leave it flat, and every error unseen."""
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            rms = parameter.square().mean().sqrt()
            parameter.mul_(parameter.shape[-1] ** -0.5 / rms.clamp(min=1e-6))
    return model


def _compare(setup: Setup, models: list[PreTrainedModel], device: Device) -> str | None:
    """One step in float32 as a stack and alone; in the precision of training, that it runs and its loss is near."""
    exact = Device(device.kind, "float32")
    inputs, targets = (part.to(device.torch_device) for part in _sample(setup, len(models)))  # (E, B, T)
    stack = _stack_of(setup, models, exact)
    before = {name: buffer.clone() for name, buffer in stack.skeleton.named_buffers()}
    optimizer = StackedAdamW(stack.weights, setup.training.weight_decay, setup.training.clip)
    losses = stack.losses(inputs, targets)
    stack.weights.differentiate(losses)
    losses = losses.detach()
    gradient = stack.weights.gradient.clone()
    optimizer.step(torch.full_like(losses, RATE), torch.ones_like(losses, dtype=torch.bool))
    for name, buffer in stack.skeleton.named_buffers():
        if not torch.equal(buffer, before[name]):
            return f"its buffer {name} changes"
    if device.precision != "float32":
        rough = _stack_of(setup, models, device).losses(inputs, targets).detach()
        if not torch.allclose(rough, losses, rtol=0.02):
            return f"its loss in {device.precision} is {rough.tolist()}, in float32 {losses.tolist()}"
    for member, model in enumerate(models):
        reason = _differs(setup, stack, gradient, losses, member, model.to(device.torch_device), inputs, targets)
        if reason is not None:
            return reason
    return None


def _differs(
    setup: Setup,
    stack: StackedModel,
    gradient: torch.Tensor,
    losses: torch.Tensor,
    member: int,
    model: PreTrainedModel,
    inputs: torch.Tensor,
    targets: torch.Tensor,
) -> str | None:
    """What of this member is not what the model alone gives."""
    readout = Readout(model.train())
    rate, decay = RATE, setup.training.weight_decay
    optimizer = torch.optim.AdamW(parameter_groups(model, decay), lr=rate, fused=True)
    flat = targets[member].flatten()
    rows = readout.features(inputs[member]).flatten(0, 1)[flat != IGNORED]
    loss = readout.mean_loss(rows, flat[flat != IGNORED], torch.float32)
    loss.backward()  # type: ignore[no-untyped-call]
    if not _near(losses[member], loss):
        return f"a stack gives its loss as {losses[member].item():.6f}, the model alone as {loss.item():.6f}"
    own: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        slot = stack.weights.layout.slots[name]
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            return f"its weight {name} has no gradient"
        own[name] = gradient[member, slot.begin : slot.end].view(slot.shape)
        if not _near(own[name], parameter.grad):
            return f"a stack gives another gradient of {name}"
    felt = {name: value.abs() > FELT for name, value in own.items()}
    nn.utils.clip_grad_norm_(model.parameters(), setup.training.clip)
    optimizer.step()
    for name, parameter in model.named_parameters():
        here = felt.get(name, torch.ones_like(parameter, dtype=torch.bool))
        if not _near(stack.weights.parameters[name][member][here], parameter[here]):
            return f"a stack updates {name} otherwise"
    return None


def _near(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    found, wanted = found.detach(), wanted.detach()
    scale = max(1.0, float(wanted.abs().max())) if wanted.numel() else 1.0
    return torch.allclose(found, wanted, rtol=0.0, atol=CLOSE * scale)


def _stack_of(setup: Setup, models: list[PreTrainedModel], device: Device) -> StackedModel:
    stack = StackedModel(new_model(setup, 0), len(models), device)
    for member, model in enumerate(models):
        stack.weights.put(member, model)
    return stack


def _sample(setup: Setup, members: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random windows of two lengths: (E, B, T) inputs and targets."""
    generator = torch.Generator().manual_seed(0)
    longest = setup.context_tokens
    inputs, targets = torch.randint(0, setup.vocab_size, (2, members, 3, longest), generator=generator)
    targets[:, 1, longest // 2 :] = IGNORED
    return inputs, targets
