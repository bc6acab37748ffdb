"""What the tasks have in common: data in streams, batches that hold every example, and steps with mixup."""

import logging

import numpy as np
import torch
from fairseq.data import iterators
from fairseq.tasks import FairseqTask
from omegaconf import open_dict

from salt_fairseq.checkpoint_file import NAMES
from salt_fairseq.cli.freed_memory import keep_freed_memory
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.data.sentence_pair_dataset import SentencePairDataset
from salt_fairseq.errors import InputError
from salt_fairseq.models.salt_encoder import SaltEncoder
from salt_fairseq.modules.loss_guard import LossGuard
from salt_fairseq.modules.perturbation import Perturbation, ascend, random_in_ball
from salt_fairseq.plm import Description
from salt_fairseq.tasks.salt_config import check_ranges
from salt_fairseq.tasks.training_streams import substitutes, training_streams

logger = logging.getLogger(__name__)
LABELLED = ("sentence or pair", "token")  # by whether tokens are labelled, as the names of the tasks


class SaltTask(FairseqTask):
    """A task says which model it trains, on which data set, and the losses of the examples of a batch."""

    name: str
    has_token_labels = False  # whether the tokens of an example are labelled, and not the example
    model_class = SaltEncoder
    dataset_class = SentencePairDataset

    def __init__(self, cfg):
        super().__init__(cfg)
        self.data = DataDirectory(cfg.data)
        if self.data.has_token_labels != self.has_token_labels:
            has, needed = LABELLED[self.data.has_token_labels], LABELLED[self.has_token_labels]
            raise InputError(
                f"{cfg.data} has a label for each {has}, and --task {self.name} needs one for each {needed}: take --task "
                f"{NAMES['task'][self.data.has_token_labels]}, or other data"
            )
        labels, source_language = self.data.labels, self.data.meta["source_language"]
        # fairseq stores the task's state in every checkpoint, which thereby names its labels.
        self.state.merge_state_dict({"labels": labels, "pairs": self.data.is_pairs, "source_language": source_language})
        self.description: Description  # of the PLM, known when the model is built
        self.mixes = True  # likewise: whether it mixes substitutes in, or reads the substituted text
        check_ranges(cfg)
        self._step: tuple[int, int] | None = None  # update and micro-batch
        self._loss_guard = LossGuard()
        self._warned: set[str] = set()

    @classmethod
    def setup_task(cls, cfg, **unused):
        return cls(cfg)

    @property
    def source_dictionary(self):
        return self.data.dictionary

    target_dictionary = source_dictionary

    @staticmethod
    def losses(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy FloatTensor (B,) over the labels of each example of a batch, given logits of its model."""
        raise NotImplementedError

    def max_positions(self):
        return self.cfg.max_length

    def load_state_dict(self, state_dict):
        """Raise if a checkpoint was trained on data with other labels: it would be scored, or trained on, the wrong way."""
        labels = state_dict.get("labels", self.data.labels)
        if labels != self.data.labels:
            raise InputError(
                f"the checkpoint tells {', '.join(labels)} apart, but {self.cfg.data} has "
                f"{', '.join(self.data.labels)}: go on with the data that it was trained on"
            )
        super().load_state_dict(state_dict)

    def build_model(self, cfg, from_checkpoint=False):
        """A model from a checkpoint brings its description and its weights; a new one takes both from ``--plm``."""
        if not from_checkpoint:
            if not cfg.plm:
                raise InputError("--plm is missing: name the PLM directory that preprocess/import_plm.py wrote")
            with open_dict(cfg):
                cfg.plm_description = Description.load(cfg.plm).to_json()
        model = super().build_model(cfg, from_checkpoint)
        self.description = model.description
        self.mixes = cfg.mixup != "none"
        self.data.check_vocabulary(self.description, "the checkpoint" if from_checkpoint else cfg.plm)
        if self.cfg.max_length > model.max_positions():
            raise InputError(f"--max-length {self.cfg.max_length} is more than the PLM's {model.max_positions()} positions")
        if not from_checkpoint:
            model.load_plm(cfg.plm)
            keep_freed_memory()
        return model

    def checksums(self, split):
        """Those of the files that a training on ``split`` reads."""
        return self.data.checksums(split, substitutes(self.cfg))

    def load_dataset(self, split, combine=None, **options):
        """``train``, ``valid``, ``test.fr``, ``train.en,train.de``, or ``test.en-de``: premises of ``test.en``, hypotheses of
        ``test.de``.

        Streams are those of the training subset: of ``train``, or of whichever the trainer loads, which alone says
        ``data_selector``.
        """
        training = split == "train" if combine is None else "data_selector" in options
        if combine and not training:
            raise InputError("--combine-valid-subsets is not supported: name every subset with --valid-subset instead")
        if training:
            self._train_subset = split
        examples = self.data.load(split)
        streams = training_streams(self.cfg, self.data, split, self.mixes) if training else None
        if training:
            self.state.merge_state_dict({"training_data": self.checksums(split)})
        dataset = self.dataset_class(examples, self.description.join, self.cfg.max_length, streams, shuffle=training)
        self.datasets[split] = dataset
        logger.info(f"{split}: {len(examples.targets):,} instances, {len(dataset):,} in all streams of an epoch")
        return dataset

    def get_batch_iterator(
        self,
        dataset,
        max_tokens=None,
        max_sentences=None,
        max_positions=None,
        ignore_invalid_inputs=False,
        required_batch_size_multiple=1,
        seed=1,
        num_shards=1,
        shard_id=0,
        num_workers=0,
        epoch=1,
        data_buffer_size=0,
        skip_remainder_batch=False,
        grouped_shuffling=False,
        **unused,
    ):
        """fairseq's iterator over *all* examples, with new batches in each epoch, and workers that see the epoch: those of a
        reused data loader never do.

        Two of fairseq's options are answered with a warning: its batches of a multiple of 8 drop the examples that are left
        over, and the thread of its buffer aborts the process now and then if the command ends while it is at work.
        """
        if max_tokens is None and max_sentences is None:  # an assertion of fairseq's, which python -O leaves out
            raise InputError("--batch-size or --max-tokens is missing: one of them decides how many examples a step takes")
        if max_tokens is not None and max_tokens < self.cfg.max_length:
            raise InputError(f"--max-tokens {max_tokens} is less than --max-length {self.cfg.max_length}")
        if required_batch_size_multiple not in (1, 8):  # 8 is fairseq's default
            self._warn("--required-batch-size-multiple is ignored: every example is in a batch, whatever its size")
        if data_buffer_size not in (0, 10):  # 10 is fairseq's default
            self._warn("--data-buffer-size is ignored: batches are not buffered beyond those of --num-workers")

        def batches(dataset, epoch):
            state = np.random.get_state()
            np.random.seed((seed + 1_000_003 * epoch) % 2**32)
            indices = dataset.ordered_indices()
            np.random.set_state(state)
            batched = dataset.batch_by_size(indices, max_tokens=max_tokens, max_sentences=max_sentences)
            if not np.array_equal(np.sort(np.concatenate(batched)), np.arange(len(dataset))):
                raise RuntimeError("not every instance is in exactly one batch")
            return batched

        dataset.set_epoch(epoch)
        iterator = iterators.EpochBatchIterator(
            dataset=dataset,
            collate_fn=dataset.collater,
            batch_sampler=batches,
            seed=seed,
            num_shards=num_shards,
            shard_id=shard_id,
            num_workers=workers(num_workers),
            epoch=epoch,
            buffer_size=0,
            skip_remainder_batch=skip_remainder_batch,
            grouped_shuffling=grouped_shuffling,
            reuse_dataloader=False,
        )
        iterator.persistent_workers = False  # fairseq 0.12.2 takes no such argument
        return iterator

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            logger.warning(message)

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        """fairseq's own step, with seeds for mixup and perturbation that no other step, micro-batch or rank has."""
        update, micro_batch = self._step if self._step and self._step[0] == update_num else (update_num, -1)
        self._step = (update, micro_batch + 1)
        self._check_loss()
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        seeds = np.random.SeedSequence([self.cfg.seed, *self._step, rank]).generate_state(2).tolist()
        sample = {**sample, "net_input": {**sample["net_input"], "mixup_seed": seeds[0]}}
        if self.cfg.perturbation != Perturbation.none:
            sample["net_input"]["perturbation"] = self._perturbation(sample, model, seeds[1])
        loss, *rest = super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)
        self._loss_guard.record(loss)
        self._last_batch = (update_num, sample["id"])
        return loss, *rest

    def _check_loss(self):
        """Raise if the last batch's loss was not finite. fairseq notices gradients that are not, and runs the batch again."""
        if not self._loss_guard.last_was_finite():
            update, instances = self._last_batch
            ids = self.data.ids(self._train_subset)
            batch = ", ".join(sorted({ids[i % len(ids)] for i in instances.tolist()}))
            raise InputError(
                f"the loss is not finite in update {update + 1}, whose batch holds the examples with the ids "
                f"{batch}: training has diverged, take a smaller --lr or more --warmup-updates"
            )

    def valid_step(self, sample, model, criterion):
        loss, *rest = super().valid_step(sample, model, criterion)
        if not torch.isfinite(loss):
            examples = ", ".join(str(i + 1) for i in sample["id"].tolist())
            raise InputError(
                f"the loss is not finite for the examples number {examples} of a validation subset: training has "
                "diverged, take a smaller --lr"
            )
        return loss, *rest

    def _perturbation(self, sample, model, seed):
        """What moves the token embeddings of this batch, FloatTensor (B, T, d)."""
        net = getattr(model, "module", model)  # without the wrapper that would synchronize gradients
        tokens, ball = sample["net_input"]["src_tokens"], (self.cfg.radius, self.cfg.norm)
        dim = net.description.architecture.dim
        if self.cfg.perturbation == Perturbation.random:
            generator = torch.Generator(tokens.device).manual_seed(seed)
            return random_in_ball(tokens, dim, *ball, generator)
        with torch.no_grad():
            embeddings = net.embed(**sample["net_input"])

        def loss_of(delta):
            logits = net.classify(tokens, embeddings + delta.to(embeddings.dtype))
            return self.losses(logits.float(), sample["target"])

        training = net.training
        net.eval()  # the ascent sees the function that it climbs, not another dropout in each step
        delta, _ = ascend(loss_of, tokens, dim, *ball, self.cfg.ascent_steps, self.cfg.ascent_step_size)
        net.train(training)
        return delta


def workers(num_workers: int) -> int:
    """How many processes make batches: ``--num-workers``, but none on CPUs for 1, fairseq's default.

    There a batch takes less than a hundredth of its step's time, but while a process lives that was forked from the trainer,
    each page of weights, gradients and moments is copied before it is changed, and held twice.
    """
    return 0 if num_workers == 1 and not torch.cuda.is_available() else num_workers
