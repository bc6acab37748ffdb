"""Mean pooling as one more encoder layer, for layouts whose classifiers read the first token."""

import torch


def averaging_layer(state: dict[str, torch.Tensor], layers: int, eps: float) -> dict[str, torch.Tensor]:
    """``state``, of an encoder with so many ``layers``, with one more layer: after it, the features of the first token are the
    normalized mean of all tokens' (:func:`salt_fairseq.modules.pooling.normalized_mean`).

    Queries and keys of zero attend to all tokens equally, so attention returns the mean; the feed-forward network adds nothing,
    and the last LayerNorm undoes the eps of the one before. The residual adds the first token's own features, which are
    therefore made 2^20 times smaller than the mean: they are scaled by 2^-10 and the mean by 2^10, which fp16 can hold too.

    Where layers normalize before, the encoder's last LayerNorm becomes the new layer's first, and one that only normalizes
    takes its place. The residual is the sum of all layers, so that the mean alone is scaled, by 2^32, which fp16 cannot hold.
    """
    here, previous = f"encoder.layers.{layers}", f"encoder.layers.{layers - 1}"
    dim, ffn_dim = len(state[f"{previous}.out_proj.bias"]), len(state[f"{previous}.fc1.bias"])
    one, zero = torch.eye(dim), torch.zeros(dim)
    if "encoder.layer_norm.weight" in state:
        scale = 2.0**16
        norms = {
            f"{here}.self_attn_layer_norm.weight": state["encoder.layer_norm.weight"],
            f"{here}.self_attn_layer_norm.bias": state["encoder.layer_norm.bias"],
            f"{here}.final_layer_norm.weight": torch.ones(dim),
            "encoder.layer_norm.weight": torch.ones(dim),
            "encoder.layer_norm.bias": zero,
        }
    else:
        scale = 2.0**10
        norms = {
            **{
                f"{previous}.final_layer_norm.{part}": state[f"{previous}.final_layer_norm.{part}"] / scale
                for part in ("weight", "bias")
            },
            f"{here}.self_attn_layer_norm.weight": torch.ones(dim),
            f"{here}.self_attn_layer_norm.bias": zero,
            f"{here}.final_layer_norm.weight": torch.full((dim,), (1 + eps) ** 0.5),
        }
    return {
        **state,
        **norms,
        f"{here}.qkv.weight": torch.cat([torch.zeros(2 * dim, dim), scale * one]),
        f"{here}.qkv.bias": torch.zeros(3 * dim),
        f"{here}.out_proj.weight": scale * one,
        f"{here}.out_proj.bias": zero,
        f"{here}.fc1.weight": torch.zeros(ffn_dim, dim),
        f"{here}.fc1.bias": torch.zeros(ffn_dim),
        f"{here}.fc2.weight": torch.zeros(dim, ffn_dim),
        f"{here}.fc2.bias": zero,
        f"{here}.final_layer_norm.bias": zero,
    }
