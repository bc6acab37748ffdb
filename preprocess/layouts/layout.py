"""What importers and exporters know of a Hugging Face layout: its names of tensors and of settings."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from salt_fairseq.modules.encoder import Architecture

# BERT's normalizer's options in tokenizer.json to their names in tokenizer_config.json.
WORDPIECE_OPTIONS = {
    "lowercase": "do_lower_case",
    "strip_accents": "strip_accents",
    "handle_chinese_chars": "tokenize_chinese_chars",
}


def no_extra(config: Mapping[str, Any]) -> dict[str, Any]:
    return {}


def no_settings(arch: Architecture, dropout: Mapping[str, float], is_mean: bool) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Layout:
    """Names map this project's to the published ones; ``prefix`` stands before those of the body ("bert."), unless the body
    was saved alone."""

    model_type: str  # of config.json
    body: str  # as in plm.json
    classes: str  # with which the names of transformers' classes begin
    prefix: str
    sizes: Mapping[str, str]  # fields of the architecture to settings
    rows: Mapping[str, str]  # embeddings to the settings of their rows
    modules: Mapping[str, str]  # of the body, outside of its layers
    layers: str
    layer: Mapping[str, tuple[str, ...]]  # modules of a layer: one published module each, or three of qkv
    head: Mapping[str, str]  # modules of the LM head
    head_bias: tuple[str, ...]  # of which the first is written, or several
    decoder: str  # weight of the LM head, if stored
    classifier: Mapping[str, str]  # pooler and classifier of sentences and pairs
    eps: tuple[str, float]  # setting and its default
    needed: Mapping[str, Any]  # settings that have only one supported value, which is also transformers' default
    required: Mapping[str, Any] = field(default_factory=dict)  # and those whose default is another
    tagger: Mapping[str, str] = field(default_factory=lambda: {"classifier": "classifier"})  # the same of tokens
    pooler: str = ""  # published module of the PLM's pooler
    is_head_pooler: bool = False  # whether published classifiers start from the LM head's dense layer and LayerNorm
    head_bias_copies: int = 1  # names of its bias under which the LM head is written
    counts_positions_from_pad: bool = False  # first position is pad_token_id + 1
    native_mean: bool = False  # whether its classifiers can read the mean of all tokens
    other_heads: tuple[str, ...] = ()  # beginnings of tensors that are no masked-LM head and that one replaces
    extra: Callable[[Mapping[str, Any]], dict[str, Any]] = no_extra  # more fields of the architecture from settings; ValueError
    settings: Callable[[Any, Mapping[str, float], bool], dict[str, Any]] = no_settings  # more settings of config.json

    def has_lm_head(self, names: Collection[str]) -> bool:
        """Whether tensors of these names hold a masked-LM head."""
        if any(name.startswith(self.other_heads) for name in names if self.other_heads):
            return False
        return any(name.startswith(tuple(self.head.values())) or name in self.head_bias for name in names)

    def published(self, module: str, prefix: str, classifier: Mapping[str, str] = MappingProxyType({})) -> tuple[str, ...]:
        """The published names of a module of this project; none if the layout lacks it. ``classifier`` names the modules on top
        of the body, where it is not a masked LM."""
        if module.startswith("encoder.layers."):
            _, _, index, name = module.split(".", 3)
            return tuple(f"{prefix}{self.layers}.{index}.{there}" for there in self.layer[name])
        if module in self.modules:
            return (f"{prefix}{self.modules[module]}",)
        if module in classifier:
            return (classifier[module],)
        if module in self.head:
            return (self.head[module],)
        return (f"{prefix}{self.pooler}",) if module == "pooler" and self.pooler else ()
