"""A published masked LM in this project's names: what every importer returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import Architecture, Encoder, LMHead, without_weights


@dataclass
class Source:
    """``state`` maps names to FloatTensors as in ``model.pt``, but with the vocabulary in its published order."""

    state: dict
    architecture: dict  # fields of :class:`~salt_fairseq.modules.encoder.Architecture`, except the vocabulary
    tokenizer: dict  # the value of tokenizer.json, with the published ids
    family: str  # as in plm.json
    lm_head: str = "pretrained"  # as in plm.json
    weights_dtype: str = "float32"  # as in plm.json
    pooling: str = "first"  # as in plm.json
    # What the PLM does not use, kept so that an export returns the published weights:
    rows: dict = field(default_factory=dict)  # left-out rows of the tensors of ``state``, by name
    tensors: dict = field(default_factory=dict)  # left-out tensors, by published name
    prefix: str = ""  # of the body's published names


def untrained_head(body: type[Encoder], arch: Architecture) -> dict[str, torch.Tensor]:
    """An LM head with BERT's initialization, the same in every import."""
    with without_weights():
        state = {f"lm_head.{name}": torch.zeros_like(p, device="cpu") for name, p in LMHead(body, arch).state_dict().items()}
    state["lm_head.dense.weight"].normal_(std=0.02, generator=torch.Generator().manual_seed(0))
    state["lm_head.layer_norm.weight"].fill_(1)
    return state


class Tensors:
    """Published tensors, taken one by one in fp32; those not taken remain in ``left``. ``where`` names them in errors."""

    def __init__(self, tensors: dict[str, torch.Tensor], where: str):
        self.left, self.where = tensors, where
        dtypes = {str(t.dtype).removeprefix("torch.") for t in tensors.values() if t.is_floating_point()}
        self.dtype = dtypes.pop() if len(dtypes) == 1 else "float32"

    def __contains__(self, name: str) -> bool:
        return name in self.left

    def take(self, name: str) -> torch.Tensor:
        try:
            tensor = self.left.pop(name)
        except KeyError:
            raise InputError(f"{self.where} lack {name}: they are incomplete, or of another kind of model") from None
        if not tensor.is_floating_point():
            raise InputError(f"{self.where} hold {name} as {tensor.dtype}: fp32, fp16 or bf16 is needed")
        return tensor.float()

    def take_joined(self, names: Sequence[str]) -> torch.Tensor:
        """Several tensors, such as those of query, key and value, as one."""
        parts = [self.take(name) for name in names]
        if len({part.shape for part in parts}) > 1:
            raise InputError(f"{self.where} have {names[0]} and {names[1]} that differ in shape: download the model again")
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def take_modules(self, modules: Mapping[str, Sequence[str]]) -> dict[str, torch.Tensor]:
        """Weight and bias of each module, whose name in this project is mapped to its published names, joined if several."""
        return {
            f"{name}.{part}": self.take_joined([f"{module}.{part}" for module in published])
            for name, published in modules.items()
            for part in ("weight", "bias")
        }

    def others(self) -> dict[str, torch.Tensor]:
        """The tensors that were not taken, in fp32."""
        return {name: tensor.float() for name, tensor in self.left.items() if tensor.is_floating_point()}

    def take_head(self, decoder: str, biases: Sequence[str], embeddings: torch.Tensor) -> torch.Tensor:
        """The bias of an LM head, stored under one or more names, whose ``decoder``, if stored, must be the ``embeddings``."""
        weight = self.left.pop(decoder, None)
        if weight is not None and not torch.equal(weight.float(), embeddings):
            raise InputError(
                f"{self.where} have an LM head ({decoder}) that is not tied to the token embeddings: "
                "only tied ones are supported"
            )
        stored = [name for name in biases if name in self] or biases[:1]
        first, *copies = (self.take(name) for name in stored)
        if any(not torch.equal(copy, first) for copy in copies):
            raise InputError(f"{self.where} have {' and '.join(stored)} that differ: download the model again")
        return first
