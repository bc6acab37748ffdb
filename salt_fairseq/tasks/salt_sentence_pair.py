"""Task ``salt_sentence_pair``: classify sentences or sentence pairs, augmented with candidates while training."""

import logging
from dataclasses import dataclass, field

import numpy as np
import torch
from fairseq.data import iterators
from fairseq.dataclass import FairseqDataclass
from fairseq.tasks import FairseqTask, register_task
from omegaconf import II, MISSING, open_dict

from salt_fairseq.code_switching import CodeSwitching, threshold_of
from salt_fairseq.criterions import salt_classification  # noqa: F401  (--user-dir imports tasks and models only)
from salt_fairseq.data_directory import INPUTS, DataDirectory
from salt_fairseq.errors import InputError
from salt_fairseq.plm import Description
from salt_fairseq.sentence_pair_dataset import SentencePairDataset

logger = logging.getLogger(__name__)


@dataclass
class SaltSentencePairConfig(FairseqDataclass):
    data: str = field(default=MISSING, metadata={"help": "data directory (preprocess/binarize.py writes it)"})
    augment: str = field(
        default="",
        metadata={"help": "target languages to code-switch the training data to, e.g. en,fr,es,de; none: vanilla"},
    )
    thresholds: str = field(
        default="en=1e-3,1e-7",
        metadata={"help": "least probability of a substitute, for a language (en=1e-3) or all others (1e-7); with a "
                  "percent sign, the share of candidate tokens to substitute (40%%)"},
    )
    no_original: bool = field(
        default=False, metadata={"help": "leave the unchanged instances out of an augmented training set"}
    )
    one_stream: bool = field(
        default=False,
        metadata={"help": "draw one of the streams for each instance in each epoch, instead of training on all of them"},
    )
    max_length: int = field(
        default=128, metadata={"help": "tokens of a pair, specials included; the longest sentence is cut first"}
    )
    seed: int = II("common.seed")


@register_task("salt_sentence_pair", dataclass=SaltSentencePairConfig)
class SaltSentencePairTask(FairseqTask):
    def __init__(self, cfg):
        super().__init__(cfg)
        self.data = DataDirectory(cfg.data)
        self.description = None  # of the PLM, known when the model is built
        self._step = None

    @classmethod
    def setup_task(cls, cfg, **unused):
        return cls(cfg)

    @property
    def source_dictionary(self):
        return self.data.dictionary

    target_dictionary = source_dictionary

    def max_positions(self):
        return self.cfg.max_length

    def build_model(self, cfg, from_checkpoint=False):
        """A model from a checkpoint brings its description and its weights; a new one takes both from ``--plm``."""
        if not from_checkpoint:
            if not cfg.plm:
                raise InputError("--plm is missing: name the PLM directory that preprocess/import_plm.py wrote")
            with open_dict(cfg):
                cfg.plm_description = Description.load(cfg.plm).to_json()
        model = super().build_model(cfg, from_checkpoint)
        self.description = model.description
        self.data.check_vocabulary(self.description, "the checkpoint" if from_checkpoint else cfg.plm)
        if self.cfg.max_length > model.max_positions():
            raise InputError(f"--max-length {self.cfg.max_length} is more than the PLM's {model.max_positions()} positions")
        if not from_checkpoint:
            model.load_plm(cfg.plm)
        return model

    def load_dataset(self, split, **unused):
        """``train``, ``valid``, ``test.fr``, or ``test.en-de``: premises of ``test.en``, hypotheses of ``test.de``."""
        inputs, rows, targets = self.data.load(split)
        streams = self._streams(len(inputs)) if split == "train" else [None]
        self.datasets[split] = SentencePairDataset(
            inputs, rows, targets, self.description.join, self.cfg.max_length, streams,
            one_stream=self.cfg.one_stream and split == "train", shuffle=split == "train", seed=self.cfg.seed,
        )
        logger.info(f"{split}: {len(targets):,} instances, {len(self.datasets[split]):,} in all streams of an epoch")
        return self.datasets[split]

    def _streams(self, sides):
        languages = [language for language in self.cfg.augment.split(",") if language]
        streams = [] if self.cfg.no_original else [None]
        for language in languages:
            threshold = threshold_of(language, self.cfg.thresholds)
            switching = CodeSwitching(self.cfg.data, "train", language, INPUTS[:sides], threshold)
            logger.info(f"code-switching to {language}: {100 * switching.share:.1f}% of candidate tokens substituted, "
                        f"those with log-probability >= {switching.log_threshold:.3f}")
            streams.append(switching)
        if not streams:
            raise InputError("--no-original without --augment leaves nothing to train on")
        return streams

    def get_batch_iterator(
        self, dataset, max_tokens=None, max_sentences=None, max_positions=None, ignore_invalid_inputs=False,
        required_batch_size_multiple=1, seed=1, num_shards=1, shard_id=0, num_workers=0, epoch=1, data_buffer_size=0,
        skip_remainder_batch=False, grouped_shuffling=False, **unused,
    ):
        """fairseq's iterator over *all* examples (its default drops those that do not fill a multiple of 8), with new
        batches in each epoch, and workers that see the epoch: those of the reused data loader never do."""
        if max_tokens is not None and max_tokens < self.cfg.max_length:
            raise InputError(f"--max-tokens {max_tokens} is less than --max-length {self.cfg.max_length}")

        def batches(dataset, epoch):
            with_seed = np.random.get_state()
            np.random.seed((seed + 1_000_003 * epoch) % 2**32)
            indices = dataset.ordered_indices()
            np.random.set_state(with_seed)
            return dataset.batch_by_size(indices, max_tokens=max_tokens, max_sentences=max_sentences)

        dataset.set_epoch(epoch)
        return iterators.EpochBatchIterator(
            dataset=dataset, collate_fn=dataset.collater, batch_sampler=batches, seed=seed, num_shards=num_shards,
            shard_id=shard_id, num_workers=num_workers, epoch=epoch, buffer_size=data_buffer_size,
            skip_remainder_batch=skip_remainder_batch, grouped_shuffling=grouped_shuffling,
            reuse_dataloader=False, persistent_workers=False,
        )

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        """fairseq's own step, with a seed for the mixup that no other step, micro-batch or rank has."""
        update, micro_batch = self._step if self._step and self._step[0] == update_num else (update_num, -1)
        self._step = (update, micro_batch + 1)
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        key = [self.cfg.seed, *self._step, rank]
        sample["net_input"]["mixup_seed"] = int(np.random.SeedSequence(key).generate_state(1)[0])
        return super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)
