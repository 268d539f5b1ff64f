"""Adam with L2 regularisation in the gradient (Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015)."""

from typing import Any

import torch
from torch import Tensor

from reelgraph.models.base import Model

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """Updates a model's parameters in place by PyTorch's fused kernel, the one of `torch.optim.Adam(fused=True)`.

    It passes over each table once. `torch.optim` would import PyTorch's compiler, which takes a second.
    """

    def __init__(self, model: Model, groups: list[dict[str, Any]]) -> None:
        self.parameters = dict(model.named_parameters())
        names = {parameter: name for name, parameter in self.parameters.items()}
        self.l2 = {names[parameter]: group["weight_decay"] for group in groups for parameter in group["params"]}
        self.moments: dict[str, dict[str, Tensor]] = {
            part: {name: torch.zeros_like(self.parameters[name]) for name in self.l2} for part in ("first", "second")
        }

    def clear(self) -> None:
        """Drop the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float, before: int) -> None:
        """Take a step of size `rate` after `before` earlier ones."""
        for l2 in set(self.l2.values()):
            rows = [
                (parameter, parameter.grad, *(values[name] for values in self.moments.values()))
                for name, parameter in self.parameters.items()
                if self.l2[name] == l2 and parameter.grad is not None
            ]
            if rows:
                parameters, grads, first, second = map(list, zip(*rows, strict=True))
                steps = [torch.tensor(before + 1.0, device=parameter.device) for parameter in parameters]
                torch._fused_adam_(
                    parameters, grads, first, second, [], steps, lr=rate, beta1=BETA1, beta2=BETA2, weight_decay=l2,
                    eps=EPSILON, amsgrad=False, maximize=False,
                )  # fmt: skip
