"""Masked LMs in Hugging Face's layout: BERT and XLM-R, one name table for both."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from preprocess.vocabulary import kind_of, read_tokenizer
from salt_fairseq.errors import InputError

# Of one layer, ours to theirs; q, k and v become one matrix.
LAYER = {
    "out_proj": "attention.output.dense",
    "self_attn_layer_norm": "attention.output.LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
    "final_layer_norm": "output.LayerNorm",
}
HEAD = {
    "bert": {"dense": "cls.predictions.transform.dense", "layer_norm": "cls.predictions.transform.LayerNorm",
             "bias": "cls.predictions.bias", "decoder": "cls.predictions.decoder.weight"},
    "roberta": {"dense": "lm_head.dense", "layer_norm": "lm_head.layer_norm", "bias": "lm_head.bias",
                "decoder": "lm_head.decoder.weight"},
}
SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "layer_norm_eps")
BODIES = {"bert": "bert", "xlm-roberta": "roberta", "roberta": "roberta"}


def find(source):
    """The local directory of a Hugging Face directory or hub name (which is downloaded)."""
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.txt", "*.model", "*.safetensors"]
    try:
        found = Path(snapshot_download(source, allow_patterns=patterns))
        if not list(found.glob("*.safetensors")):
            found = Path(snapshot_download(source, allow_patterns=[*patterns, "pytorch_model*.bin"]))
        return found
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{source} is neither a directory nor a model that the Hugging Face hub gave ({reason}): "
            "download the model and give its directory"
        ) from None


def read_config(directory):
    path = directory / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): a Hugging Face model directory is needed") from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise InputError(f"{path} names no model_type: a Hugging Face model directory is needed")
    if config["model_type"] not in BODIES:
        raise InputError(f"{path}: model_type {config['model_type']!r} is not supported; BERT and XLM-R are")
    for option, needed in (("hidden_act", "gelu"), ("position_embedding_type", "absolute"),
                           ("tie_word_embeddings", True)):
        if config.get(option, needed) != needed:
            raise InputError(f"{path}: {option} is {config[option]!r}, only {needed!r} is supported")
    missing = [name for name in SIZES if name not in config]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}: download it again")
    if config["hidden_size"] % config["num_attention_heads"]:
        raise InputError(f"{path}: {config['num_attention_heads']} heads do not divide {config['hidden_size']} dimensions")
    return config


def read_tensors(directory):
    """All tensors of the directory's weight files, fp32."""
    files = sorted(directory.glob("model*.safetensors"))
    try:
        if files:
            parts = [load_file(f) for f in files]
        else:
            files = sorted(directory.glob("pytorch_model*.bin"))
            parts = [torch.load(f, map_location="cpu", weights_only=True) for f in files]
    except Exception as error:  # safetensors and pickle raise many kinds
        raise InputError(f"the weights in {directory} cannot be read ({error}): download them again") from None
    if not files:
        raise InputError(f"{directory} has no weights: model.safetensors or pytorch_model.bin is needed")
    tensors = {name: tensor.float() for part in parts for name, tensor in part.items() if tensor.is_floating_point()}
    # BERT's first releases name LayerNorm's parameters after TensorFlow's.
    return {n.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): t
            for n, t in tensors.items()}


def read(source):
    """Returns (state, architecture values, tokenizer.json value); vocabulary rows are in the source's own order."""
    directory = find(source)
    config, tensors, tokenizer = read_config(directory), read_tensors(directory), read_tokenizer(directory)
    family = BODIES[config["model_type"]]
    prefix = f"{family}." if any(n.startswith(f"{family}.") for n in tensors) else ""

    def get(name):
        try:
            return tensors[name]
        except KeyError:
            raise InputError(
                f"the weights in {directory} lack {name}: a checkpoint with its masked-LM head is needed"
            ) from None

    embeddings = f"{prefix}embeddings."
    # XLM-R numbers positions from pad + 1 = 2.
    first_position = 2 if family == "roberta" else 0
    state = {
        "encoder.embed_tokens.weight": get(f"{embeddings}word_embeddings.weight"),
        "encoder.embed_positions.weight": get(f"{embeddings}position_embeddings.weight")[first_position:],
        "encoder.embed_segments.weight": get(f"{embeddings}token_type_embeddings.weight"),
    }
    if kind_of(tokenizer) == "sentencepiece":  # XLM-R's pairs have one segment, whatever the body
        state["encoder.embed_segments.weight"] = state["encoder.embed_segments.weight"][:1]
    modules = {"encoder.layernorm_embedding": f"{embeddings}LayerNorm"}
    for i in range(config["num_hidden_layers"]):
        ours, theirs = f"encoder.layers.{i}.", f"{prefix}encoder.layer.{i}."
        modules.update({ours + a: theirs + b for a, b in LAYER.items()})
        for part in ("weight", "bias"):
            qkv = [get(f"{theirs}attention.self.{x}.{part}") for x in ("query", "key", "value")]
            if len({tensor.shape for tensor in qkv}) > 1:
                raise InputError(f"the weights {theirs}attention.self of {directory} differ in shape: download them again")
            state[f"{ours}qkv.{part}"] = torch.cat(qkv)
    head = HEAD[family]
    modules.update({"lm_head.dense": head["dense"], "lm_head.layer_norm": head["layer_norm"]})
    pooler = f"{prefix}pooler.dense.weight" in tensors
    if pooler:
        modules["pooler"] = f"{prefix}pooler.dense"
    for ours, theirs in modules.items():
        for part in ("weight", "bias"):
            state[f"{ours}.{part}"] = get(f"{theirs}.{part}")
    state["lm_head.bias"] = get(head["bias"])
    decoder = tensors.get(head["decoder"])
    if decoder is not None and not torch.equal(decoder, state["encoder.embed_tokens.weight"]):
        raise InputError(f"the weights in {directory} have an LM head that is not tied to the embeddings")
    architecture = dict(
        dim=config["hidden_size"], layers=config["num_hidden_layers"], heads=config["num_attention_heads"],
        ffn_dim=config["intermediate_size"], positions=len(state["encoder.embed_positions.weight"]),
        segments=len(state["encoder.embed_segments.weight"]), layer_norm_eps=config["layer_norm_eps"], pooler=pooler,
    )
    return state, architecture, tokenizer
