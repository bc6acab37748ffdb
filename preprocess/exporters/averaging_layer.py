"""Mean pooling as one more encoder layer, for layouts whose classifiers read the first token."""

import torch

SCALE = 2.0**10


def averaging_layer(state: dict[str, torch.Tensor], layers: int, eps: float) -> dict[str, torch.Tensor]:
    """``state``, of an encoder with so many ``layers``, with one more layer: after it, the features of the first token are the
    normalized mean of all tokens' (:func:`salt_fairseq.modules.pooling.normalized_mean`).

    Queries and keys of zero attend to all tokens equally, so attention returns the mean; the feed-forward network adds nothing,
    and the last LayerNorm undoes the eps of the one before. The residual adds the first token's own features, which are
    therefore made 2^20 times smaller than the mean: they are scaled by 2^-10 and the mean by 2^10, which fp16 can hold too.
    """
    norm = [f"encoder.layers.{layers - 1}.final_layer_norm.{part}" for part in ("weight", "bias")]
    dim, ffn_dim = len(state[norm[0]]), len(state["encoder.layers.0.fc1.bias"])
    here, one, zero = f"encoder.layers.{layers}", torch.eye(dim), torch.zeros(dim)
    undone = torch.full((dim,), (1 + eps) ** 0.5)
    return {
        **state,
        **{name: state[name] / SCALE for name in norm},
        f"{here}.qkv.weight": torch.cat([torch.zeros(2 * dim, dim), SCALE * one]),
        f"{here}.qkv.bias": torch.zeros(3 * dim),
        f"{here}.out_proj.weight": SCALE * one,
        f"{here}.out_proj.bias": zero,
        f"{here}.self_attn_layer_norm.weight": torch.ones(dim),
        f"{here}.self_attn_layer_norm.bias": zero,
        f"{here}.fc1.weight": torch.zeros(ffn_dim, dim),
        f"{here}.fc1.bias": torch.zeros(ffn_dim),
        f"{here}.fc2.weight": torch.zeros(dim, ffn_dim),
        f"{here}.fc2.bias": zero,
        f"{here}.final_layer_norm.weight": undone,
        f"{here}.final_layer_norm.bias": zero,
    }
