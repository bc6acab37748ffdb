"""A masked LM as it was published, in this project's names: what every importer returns."""

from dataclasses import dataclass, field

import torch

from salt_fairseq.errors import InputError


@dataclass
class Source:
    """``state`` is name to FloatTensor as in ``model.pt``, with vocabulary rows in the published order."""

    state: dict
    architecture: dict  # of :class:`~salt_fairseq.modules.encoder.Architecture`, but for the vocabulary
    tokenizer: dict  # the value of tokenizer.json, with the published ids
    family: str  # as in plm.json
    lm_head: str = "pretrained"  # as in plm.json
    weights_dtype: str = "float32"  # as in plm.json
    pooling: str = "first"  # as in plm.json
    # What the PLM has no use for, kept so that an export gives the published weights back:
    rows: dict = field(default_factory=dict)  # left-out rows of a tensor of ``state``, by its name
    tensors: dict = field(default_factory=dict)  # left-out tensors, by their published names


def untrained_head(dim, rows):
    """An LM head with BERT's initialization, the same for every import."""
    generator = torch.Generator().manual_seed(0)
    return {
        "lm_head.dense.weight": torch.empty(dim, dim).normal_(std=0.02, generator=generator),
        "lm_head.dense.bias": torch.zeros(dim),
        "lm_head.layer_norm.weight": torch.ones(dim),
        "lm_head.layer_norm.bias": torch.zeros(dim),
        "lm_head.bias": torch.zeros(rows),
    }


class Tensors:
    """Published tensors that are taken one by one, fp32; what was not taken remains in ``left``."""

    def __init__(self, tensors, where):
        self.left, self.where = tensors, where
        dtypes = {str(t.dtype).removeprefix("torch.") for t in tensors.values() if t.is_floating_point()}
        self.dtype = dtypes.pop() if len(dtypes) == 1 else "float32"

    def __contains__(self, name):
        return name in self.left

    def take(self, name):
        try:
            tensor = self.left.pop(name)
        except KeyError:
            raise InputError(f"{self.where} lack {name}: they are incomplete, or of another kind of model") from None
        if not tensor.is_floating_point():
            raise InputError(f"{self.where} hold {name} as {tensor.dtype}: fp32, fp16 or bf16 is needed")
        return tensor.float()

    def take_qkv(self, names):
        """Query, key and value as one matrix or bias."""
        parts = [self.take(name) for name in names]
        if len({part.shape for part in parts}) > 1:
            raise InputError(f"{self.where} have {names[0]} and {names[1]} that differ in shape: download the model again")
        return torch.cat(parts)

    def take_head(self, decoder, biases, embeddings):
        """The bias of an LM head whose ``decoder`` is, or would be, the token ``embeddings``."""
        weight = self.left.pop(decoder, None)
        if weight is not None and not torch.equal(weight.float(), embeddings):
            raise InputError(
                f"{self.where} have an LM head ({decoder}) that is not tied to the token embeddings: "
                "only tied ones are supported"
            )
        there = [name for name in biases if name in self]
        found = [self.take(name) for name in there or biases[:1]]
        if any(not torch.equal(bias, found[0]) for bias in found):
            raise InputError(f"{self.where} have {' and '.join(there)} that differ: download the model again")
        return found[0]
