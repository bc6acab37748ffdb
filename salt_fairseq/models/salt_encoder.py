"""Model ``salt_encoder``: an imported PLM with a classifier on one vector, and embedding mixup while training."""

from dataclasses import dataclass, field

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel, register_model
from torch import nn

from salt_fairseq.errors import InputError
from salt_fairseq.modules.choice import Choice
from salt_fairseq.modules.dropout import Dropout
from salt_fairseq.modules.encoder import PAD, Architecture, Encoder
from salt_fairseq.modules.initialization import depth, initialize
from salt_fairseq.modules.mixup import Mixing, coefficients, mean_embeddings, mix
from salt_fairseq.plm import Description, load_state


class PoolingChoice(Choice):
    """``plm``: as the PLM was trained; otherwise one of :data:`salt_fairseq.modules.pooling.POOLINGS`."""

    plm = "plm"
    first = "first"
    mean = "mean"


@dataclass
class SaltEncoderConfig(FairseqDataclass):
    plm: str = field(default="", metadata={"help": "PLM directory to start from (preprocess/import_plm.py writes it)"})
    plm_description: str = field(
        default="", metadata={"help": "filled in from the PLM directory, so that a checkpoint needs nothing else"}
    )
    dropout: float = field(default=0.1, metadata={"help": "dropout after embeddings, attention and feed-forward"})
    attention_dropout: float = field(default=0.1, metadata={"help": "dropout of attention weights"})
    classifier_dropout: float = field(default=0.1, metadata={"help": "dropout between pooler and classifier"})
    pooling: PoolingChoice = field(
        default=PoolingChoice.plm,
        metadata={
            "help": "what is classified: the features of the first token, the mean of all tokens, or whichever the PLM "
            "was trained with (plm)"
        },
    )
    autocast_bf16: bool = field(
        default=False,
        metadata={
            "help": "compute matrix products in bfloat16 and keep fp32 weights, on CPU and GPU (fairseq's own "
            "--bf16 does not run on a CPU)"
        },
    )
    freeze_embeddings: bool = field(default=False, metadata={"help": "do not train the token embeddings"})
    mixup: Mixing = field(
        default=Mixing.instance,
        metadata={
            "help": "how token and substitute embeddings are mixed: one random vector per instance (the paper) or "
            "per token, one random number per instance (scalar), a fixed ratio, or none: train on the substituted text"
        },
    )
    mixup_ratio: float = field(default=0.5, metadata={"help": "weight of the original with --mixup fixed"})
    classifier_seed: int = field(
        default=0,
        metadata={
            "help": "seed of the classifier's and the pooler's initial weights, alike in runs that will be averaged "
            "(arXiv:2310.10532); 0: drawn with the run's own seed"
        },
    )
    reinit_layers: int = field(
        default=0,
        metadata={"help": "start so many of the top layers with random weights instead of the PLM's (arXiv:2006.05987)"},
    )


@register_model("salt_encoder", dataclass=SaltEncoderConfig)
class SaltEncoder(BaseFairseqModel):
    """Logits over labels: the first token or the mean of all, the body's pooler (pretrained where the PLM has one for this
    pooling), dropout, classifier."""

    def __init__(self, cfg, classes):
        super().__init__()
        self.cfg = cfg
        self.description = Description.from_json(cfg.plm_description, "the checkpoint")
        arch, body = self.description.architecture, self.description.encoder_class
        self.pooling = self.description.pooling if cfg.pooling == PoolingChoice.plm else str(cfg.pooling)
        self.encoder = body(arch, cfg.dropout, cfg.attention_dropout)
        self.pooler, self.has_plm_pooler = self._make_pooler(body, arch)
        self.classifier = nn.Linear(arch.dim, classes)
        self.dropout = Dropout(cfg.classifier_dropout)
        generator = torch.Generator().manual_seed(cfg.classifier_seed) if cfg.classifier_seed else None
        for layer in (self.pooler, self.classifier):
            initialize(layer, generator)
        for name, parameter in self.named_parameters():
            parameter.depth = depth(name, arch.layers)
        if cfg.freeze_embeddings:
            self.encoder.embed_tokens.requires_grad_(False)
        self._generator = None

    def _make_pooler(self, body: type[Encoder], arch: Architecture) -> tuple[nn.Module, bool]:
        """The layer between features and dropout, and whether it starts with the PLM's weights."""
        return body.pooler_class(arch), arch.pooler and self.pooling in body.poolings_of_pooler

    @classmethod
    def build_model(cls, cfg, task):
        """The model of the task's kind."""
        if not 0 <= cfg.mixup_ratio <= 1:
            raise InputError(f"--mixup-ratio {cfg.mixup_ratio} is outside [0, 1]")
        for name in ("dropout", "attention_dropout", "classifier_dropout"):
            if not 0 <= getattr(cfg, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} {getattr(cfg, name)} is outside [0, 1)")
        model = task.model_class(cfg, len(task.data.labels))
        layers = model.description.architecture.layers
        if not 0 <= cfg.reinit_layers <= layers:
            raise InputError(f"--reinit-layers {cfg.reinit_layers}: the PLM has {layers} layers, so give 0 to {layers}")
        return model

    def load_plm(self, plm_dir):
        """Start from the weights of a PLM directory."""
        state = load_state(plm_dir, self.description)
        unused = ("lm_head.",) if self.has_plm_pooler else ("lm_head.", "pooler.")
        used = {k: v for k, v in state.items() if not k.startswith(unused)}
        own = self.state_dict()
        misfits = [name for name, tensor in used.items() if name not in own or own[name].shape != tensor.shape]
        fresh = ("classifier.",) if self.has_plm_pooler else ("classifier.", "pooler.")
        if misfits or any(not name.startswith(fresh) for name in own.keys() - used.keys()):
            raise InputError(f"{plm_dir}: model.pt does not fit plm.json: import the PLM again with import_plm.py")
        self.load_state_dict(used, strict=False)
        for layer in self.encoder.layers[self.description.architecture.layers - self.cfg.reinit_layers :]:
            layer.apply(initialize)

    def half(self):
        """Raise where the body cannot compute in fp16: fairseq calls this for ``--fp16``."""
        if self.encoder.fp16_overflow:
            raise InputError(f"--fp16: {self.encoder.fp16_overflow}: use --bf16, or --autocast-bf16 with fp32 weights")
        return super().half()

    def max_positions(self):
        return self.description.architecture.positions

    def forward(self, src_tokens, substitutes=None, mixup_seed=0, perturbation=None):
        """``src_tokens`` LongTensor (B, T), right-padded. Returns ``(logits, None)``, those of :meth:`classify`.

        Only while training: ``substitutes`` LongTensor (B, T), or (B, T, M) where one has up to M tokens, are mixed in with
        coefficients that ``mixup_seed`` determines; ``perturbation`` FloatTensor (B, T, d) is added to the embeddings.
        """
        if not self.training:
            return self.classify(src_tokens), None
        if substitutes is None and perturbation is None:
            return self.classify(src_tokens), None
        embeddings = self.embed(src_tokens, substitutes, mixup_seed)
        if perturbation is not None:
            embeddings = embeddings + perturbation.to(embeddings.dtype)
        return self.classify(src_tokens, embeddings), None

    def embed(self, src_tokens, substitutes=None, mixup_seed=0):
        """Token embeddings FloatTensor (B, T, d), those of the substitutes mixed in (paper §2.2)."""
        if substitutes is None:
            return self.encoder.embed_tokens(src_tokens)
        aligned = substitutes[None] if substitutes.dim() == 2 else substitutes.movedim(2, 0)
        # One look-up for both: each has a gradient of the size of the vocabulary.
        embeddings = self.encoder.embed_tokens(torch.cat([src_tokens[None], aligned]))
        originals, others = embeddings[0], mean_embeddings(embeddings[1:], aligned, PAD)
        if self._generator is None or self._generator.device != src_tokens.device:
            self._generator = torch.Generator(src_tokens.device)
        self._generator.manual_seed(mixup_seed)
        r = coefficients(self.cfg.mixup, self.cfg.mixup_ratio, originals.shape, self._generator, src_tokens.device)
        return mix(originals, others, r)

    def classify(self, tokens, embeddings=None):
        """Logits FloatTensor (B, classes) of tokens (B, T), whose embeddings (B, T, d) may be given."""
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.cfg.autocast_bf16):
            if self.pooling == "first":
                vector = self.encoder(tokens, embeddings, first_tokens=1)[:, 0]
            else:
                vector = self.encoder.mean(self.encoder(tokens, embeddings), tokens)
            return self.classifier(self.dropout(self.pooler(vector)))
