"""Whether the loss of a training step was finite, known without waiting for the device."""

import torch


class LossGuard:
    """Remembers the last loss. On a GPU its copy to the CPU takes place while the step goes on."""

    def __init__(self) -> None:
        self._finite: torch.Tensor | None = None  # bool (), on the CPU

    def record(self, loss: torch.Tensor) -> None:
        """``loss`` FloatTensor ()."""
        if self._finite is None:
            self._finite = torch.ones((), dtype=torch.bool, pin_memory=loss.is_cuda)
        # Nothing waits for this copy: fairseq waits for the gradients of each step, which come after the loss.
        self._finite.copy_(torch.isfinite(loss.detach()), non_blocking=True)

    def last_was_finite(self) -> bool:
        return self._finite is None or bool(self._finite)
