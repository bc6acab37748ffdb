"""A model so small that its embeddings can be worked by hand, a batch for it, and training steps of the task on both."""

import torch

from salt_fairseq.models.salt_encoder import SaltEncoder, SaltEncoderConfig
from salt_fairseq.modules.encoder import BOS, EOS, PAD, Architecture
from salt_fairseq.plm import Description
from salt_fairseq.storage.manifest import write_manifest
from salt_fairseq.tasks.salt_sentence_pair import SaltSentencePairConfig, SaltSentencePairTask

DIM = 12
LENGTHS = {"l2": lambda delta: delta.norm(dim=-1), "linf": lambda delta: delta.abs().amax(-1)}
SPECIALS = {"bos": "[CLS]", "pad": "[PAD]", "eos": "[SEP]", "unk": "[UNK]", "mask": "[MASK]"}


def model(mixup="instance", ratio=0.5, segments=2, **options):
    """A model without dropout whose weights are large enough that a wrong embedding shows."""
    arch = Architecture(60, DIM, 2, 3, 20, 16, segments, 1e-12, True)
    description = Description("tiny", "test", "wordpiece", 1, SPECIALS, arch, {}, "bert")
    config = SaltEncoderConfig(
        plm_description=description.to_json(), dropout=0, attention_dropout=0, classifier_dropout=0, mixup=mixup, mixup_ratio=ratio, **options
    )
    torch.manual_seed(1)
    net = SaltEncoder(config, 3)
    net.pooler.weight.data *= 20
    net.classifier.weight.data *= 20
    return net.train()


def batch():
    """Two pairs, the second one padded, and substitutes for some of their tokens."""
    tokens = torch.tensor([[BOS, 10, 11, 12, EOS, 13, 14, EOS], [BOS, 20, EOS, 21, EOS, PAD, PAD, PAD]])
    substitutes = tokens.clone()
    substitutes[0, [1, 3, 5]] = torch.tensor([30, 31, 32])
    substitutes[1, 3] = 33
    return tokens, substitutes


def train_steps(directory, updates, **options):
    """What the task hands to the model in these updates, one ``train_step`` for each: the ``net_input`` dicts.

    ``directory`` becomes a data directory without sentences.
    """
    plm = {"name": "tiny", "vocabulary_sha256": "", "special_tokens": SPECIALS}
    write_manifest(directory, {"labels": ["0", "1", "2"], "source_language": "en", "plm": plm, "subsets": {}})
    task, net, seen = SaltSentencePairTask(SaltSentencePairConfig(**{"data": str(directory), "seed": 1, **options})), model(), []

    class Optimizer:
        def backward(self, loss):
            loss.backward()

    def criterion(net, sample):
        seen.append(sample["net_input"])
        return net(**sample["net_input"])[0].sum(), 2, {}

    tokens, substitutes = batch()
    for update in updates:
        sample = {"id": torch.arange(2), "net_input": {"src_tokens": tokens, "substitutes": substitutes}, "target": torch.tensor([1, 2])}
        task.train_step(sample, net, criterion, Optimizer(), update)
        assert set(sample["net_input"]) == {"src_tokens", "substitutes"}, "the sample itself stays as it is"
    return seen


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def inside(delta, radius, norm):
    """Within the ball, up to the rounding of float32."""
    return bool((LENGTHS[norm](delta) <= radius * (1 + 1e-6)).all())
