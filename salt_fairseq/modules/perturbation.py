"""Robust training (Huang et al., 2021): move token embeddings within a ball, at random (RS-RP) or against the model (RS-ADV).

A reconstruction: the paper gives neither radius nor step size nor norm in code, so all three are options. Every token has
its own ball; special tokens and padding do not move.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from salt_fairseq.modules.choice import Choice
from salt_fairseq.modules.encoder import EOS


class Perturbation(Choice):
    """Choices of ``--perturbation``; the names of the members are what a configuration says."""

    none = "none"
    random = "random"
    adversarial = "adversarial"


class Norm(Choice):
    """Choices of ``--norm``."""

    l2 = "l2"
    linf = "linf"


def movable(tokens: torch.Tensor) -> torch.Tensor:
    """LongTensor (B, T) to bool (B, T, 1): everything but bos, padding and eos."""
    return tokens.gt(EOS)[:, :, None]


def project(delta: torch.Tensor, radius: float, norm: str) -> torch.Tensor:
    """The nearest point of each token's ball, (B, T, d) to (B, T, d)."""
    if norm == "linf":
        return delta.clamp(-radius, radius)
    return delta * (radius / delta.norm(dim=-1, keepdim=True).clamp(min=1e-12)).clamp(max=1.0)


def random_in_ball(tokens: torch.Tensor, dim: int, radius: float, norm: str, generator: torch.Generator) -> torch.Tensor:
    """Uniform in each token's ball, FloatTensor (B, T, d): RS-RP.

    In an L2 ball the direction is that of a Gaussian vector and the length ``radius * u ** (1 / d)``, u uniform in [0, 1].
    """
    shape, device = (*tokens.shape, dim), tokens.device
    if norm == "linf":
        delta = radius * (2 * torch.rand(shape, generator=generator, device=device) - 1)
    else:
        length = radius * torch.rand(*tokens.shape, 1, generator=generator, device=device) ** (1 / dim)
        delta = F.normalize(torch.randn(shape, generator=generator, device=device), dim=-1) * length
    return delta * movable(tokens)


def ascend(
    loss_of: Callable[[torch.Tensor], torch.Tensor],
    tokens: torch.Tensor,
    dim: int,
    radius: float,
    norm: str,
    steps: int,
    step_size: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Projected gradient ascent from the ball's centre, FloatTensor (B, T, d): RS-ADV.

    ``loss_of`` maps a perturbation (B, T, d) to the losses (B,) of the instances, without dropout. A step follows each
    token's normalized gradient (L2) or its sign (L-infinity) for ``step_size`` times the radius. Where it lowers an instance's
    loss, it is taken back and half as long the next time; so no instance's loss is ever below the one before, nor below
    the unperturbed one. Returns the perturbation and the losses (steps + 1, B) along the way.
    """
    mask = movable(tokens)
    best = torch.zeros(*tokens.shape, dim, device=tokens.device)
    length = torch.full((len(tokens), 1, 1), step_size * radius, device=tokens.device)
    losses: list[torch.Tensor] = []
    proposal = gradient = best
    for step in range(steps + 1):
        proposal = proposal.detach().requires_grad_(step < steps)
        with torch.set_grad_enabled(step < steps):
            loss = loss_of(proposal).float()
        new_gradient = torch.autograd.grad(loss.sum(), proposal)[0] if step < steps else gradient
        proposal, loss = proposal.detach(), loss.detach()
        better = (loss >= losses[-1] if losses else torch.ones_like(loss, dtype=torch.bool))[:, None, None]
        best = torch.where(better, proposal, best)
        gradient = torch.where(better, new_gradient, gradient)
        length = torch.where(better, length, length / 2)
        losses.append(torch.where(better[:, 0, 0], loss, losses[-1]) if losses else loss)
        direction = gradient.sign() if norm == "linf" else F.normalize(gradient, dim=-1)
        proposal = project(best + length * direction, radius, norm) * mask
    return best, torch.stack(losses)
