"""AdamW for a stack: every member has its own rate, its own clipping and its own number of steps.

    optimizer = StackedAdamW(weights, weight_decay=0.01, clip=1.0)
    weights.differentiate(losses)
    optimizer.step(rates, active)            (E,) float32 and (E,) bool

Equal to `torch.nn.utils.clip_grad_norm_` and `torch.optim.AdamW` of each member alone. A member that is not active does
not move by a bit, which a zero gradient would not give: the moments and the decay go on moving weights. Nothing is
multiplied by a mask, because zero times NaN is NaN; and nothing of one row gets into another.

No fused kernel takes a rate per member. This is about 12 passes over the rows in place, without memory of its own: the
gradient's is used up.

Shapes: E members, P' trained numbers of a model (P'' of them decaying).
"""

import torch

from memo.lm.stacked_weights import Weights

BETAS = (0.9, 0.999)  # torch's defaults, which train_split has
EPSILON = 1e-8


class StackedAdamW:
    def __init__(self, weights: Weights, weight_decay: float, clip: float) -> None:
        self.weights, self.weight_decay, self.clip = weights, weight_decay, clip
        self.exp_avg = torch.zeros_like(weights.gradient)  # (E, P'), torch's names of the two moments
        self.exp_avg_sq = torch.zeros_like(weights.gradient)
        self.steps = torch.zeros(len(weights.values), device=weights.values.device)  # (E,) of each member

    @torch.no_grad()
    def step(self, rates: torch.Tensor, active: torch.Tensor) -> None:
        values, gradient, layout = self.weights.values, self.weights.gradient, self.weights.layout
        beta1, beta2 = BETAS
        norm = torch.linalg.vector_norm(gradient, dim=1)  # (E,)
        gradient.mul_((self.clip / (norm + 1e-6)).clamp(max=1.0).unsqueeze(1))
        gradient.masked_fill_(~active.unsqueeze(1), 0.0)

        self.steps += active
        rates = torch.where(active, rates, 0.0)
        values[:, : layout.decayed].mul_((1 - rates * self.weight_decay).unsqueeze(1))
        self.exp_avg.lerp_(gradient, torch.where(active, 1 - beta1, 0.0).unsqueeze(1))
        self.exp_avg_sq.mul_(torch.where(active, beta2, 1.0).unsqueeze(1)).addcmul_(gradient, gradient, value=1 - beta2)

        done = self.steps.clamp(min=1).double()  # a member that never moved has no correction, and must not have 0 / 0
        correction1, correction2 = (1 - beta1**done).float(), (1 - beta2**done).sqrt().float()
        update = torch.sqrt(self.exp_avg_sq, out=gradient)
        update.div_(correction2.unsqueeze(1)).add_(EPSILON)
        torch.div(self.exp_avg, update, out=update)
        update.mul_((rates / correction1).unsqueeze(1))
        values[:, : layout.trained].sub_(update)
