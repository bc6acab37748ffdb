"""Training of an LM head on plain text: what is trained, what the losses are, and how good it is on held-out text."""

import copy
from collections import Counter

import torch
import torch.nn.functional as F
from torch import nn

from preprocess.lm_head.masking import Masking, is_text

UNMASKED = ("neighbours", "itself", "nothing")
BETAS, WARMUP, CLIP = (0.9, 0.98), 0.02, 1.0


def renew(head):
    """Give an LM head BERT's initialization, drawn from torch's generator."""
    nn.init.normal_(head.dense.weight, std=0.02)
    nn.init.zeros_(head.dense.bias)
    head.layer_norm.reset_parameters()
    nn.init.zeros_(head.bias)


def own_layers(plm, least):
    """Give the LM head of ``plm`` at least so many layers of its own: those that it has, below them copies of the encoder's."""
    encoder, own = plm.encoder.layers, plm.lm_head.layers
    copied = encoder[len(encoder) - max(least, len(own)) : len(encoder) - len(own)]
    plm.lm_head.layers = nn.ModuleList([*copy.deepcopy(copied), *own])


class HeadTraining:
    """Trains ``plm.lm_head``, of its own layers the top ``layers``; the encoder is frozen, and stays as it is for fine-tuning.

    ``neighbours``: a fitted :class:`~preprocess.lm_head.contextual_neighbours.ContextualNeighbours`, or None. Every token of a
    batch is a target: those that ``masking`` selects, and of the others, which the PLM reads as they are, what
    ``unmasked`` says.
    """

    def __init__(self, plm, layers, masking, unmasked, masked_weight, temperature, neighbours, lrs, steps, autocast):
        self.plm, self.masking, self.unmasked, self.neighbours = plm, masking, unmasked, neighbours
        self.masked_weight, self.temperature, self.steps, self.autocast = masked_weight, temperature, steps, autocast
        self.vocabulary = plm.description.architecture.vocabulary
        plm.requires_grad_(False)
        own_layers(plm, layers)
        plm.lm_head.requires_grad_(True)
        plm.lm_head.layers[: len(plm.lm_head.layers) - layers].requires_grad_(False)
        self.trained = {name: p for name, p in plm.lm_head.named_parameters() if p.requires_grad}
        groups = [
            {"params": [p for name, p in self.trained.items() if name.startswith("layers.") == of_layers], "lr": lr}
            for of_layers, lr in zip((False, True), lrs)
        ]
        self.optimizer = torch.optim.AdamW([group for group in groups if group["params"]], betas=BETAS, weight_decay=0.0)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._share_of_lr)

    def state(self):
        """All that a training must remember between two steps."""
        return {"model": dict(self.trained), "optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state(self, state):
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(state["model"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])

    def _share_of_lr(self, step):
        """Linear from 0 within the warm-up, then linear to 0."""
        warmup = max(1, WARMUP * self.steps)
        return min(1.0, (step + 1) / warmup) * max(0.0, 1 - step / self.steps)

    def step(self, tokens, files, generator):
        """One update with ``tokens`` LongTensor (B, T), padded; returns ``(masked, unmasked)`` losses, nan where there
        is no such target."""
        inputs, selected = self.masking(tokens, self.vocabulary, generator)
        seen = is_text(tokens, self.vocabulary) & ~selected
        tokens, files, inputs, selected, seen = (
            t.to(self.plm.lm_head.bias.device) for t in (tokens, files, inputs, selected, seen)
        )
        with self.autocast():
            features = self.plm.lm_head.features(self.plm.encoder, inputs)
            masked = self._itself(features[selected], tokens[selected]) if selected.any() else features.new_tensor(torch.nan)
            if self.unmasked == "nothing" or not seen.any():
                unmasked = features.new_tensor(torch.nan)
            elif self.unmasked == "itself":
                unmasked = self._itself(features[seen], tokens[seen])
            else:
                unmasked = self._neighbours(features[seen], self.neighbours(tokens, files, seen, self.autocast))
        losses = [w * loss for w, loss in ((self.masked_weight, masked), (1.0, unmasked)) if w and not loss.isnan()]
        if losses:
            self.optimizer.zero_grad()
            sum(losses).backward()
            nn.utils.clip_grad_norm_(self.trained.values(), CLIP)
            self.optimizer.step()
        self.schedule.step()
        return masked.item(), unmasked.item()

    def _itself(self, features, targets):
        """Cross-entropy of the tokens themselves over the whole vocabulary."""
        return F.cross_entropy(self.plm.lm_head(features, self.plm.encoder.embed_tokens.weight).float(), targets)

    def _neighbours(self, features, similarities):
        """Kullback-Leibler divergence of what the head says of ``neighbours.pieces`` from the softmax of the similarities
        (n, pieces) over the temperature, mean over n."""
        pieces, head = self.neighbours.pieces, self.plm.lm_head
        logits = F.linear(head.transform(features), self.plm.encoder.embed_tokens.weight[pieces], head.bias[pieces])
        wanted = (similarities / self.temperature).log_softmax(1)
        return F.kl_div(logits.float().log_softmax(1), wanted, log_target=True, reduction="batchmean")

    @torch.no_grad()
    def held_out(self, text, max_tokens, seed):
        """Accuracies on held-out text, a dict: ``masked`` tokens (all selected ones are masked) and ``unmasked`` ones (of
        naming the token itself), and for ``neighbours`` how often the best piece but the token itself is the one of which
        the similarity is highest."""
        generator = torch.Generator().manual_seed(seed)
        masking, device = Masking(self.masking.selected or 0.15, 1.0, 0.0), self.plm.lm_head.bias.device
        right, all_ = Counter(), Counter()

        def count(name, hits):
            right[name] += int(hits.sum())
            all_[name] += len(hits)

        for tokens, files in text.batches(max_tokens):
            inputs, selected = masking(tokens, self.vocabulary, generator)
            seen = is_text(tokens, self.vocabulary)
            tokens, files, inputs, selected, seen = (t.to(device) for t in (tokens, files, inputs, selected, seen))
            with self.autocast():
                for name, read, at in (("masked", inputs, selected), ("unmasked", tokens, seen)):
                    features = self.plm.lm_head.features(self.plm.encoder, read)[at]
                    logits = self.plm.lm_head(features, self.plm.encoder.embed_tokens.weight)
                    count(name, logits.argmax(1) == tokens[at])
                if self.neighbours:
                    pieces, similarities = self.neighbours.pieces, self.neighbours(tokens, files, seen, self.autocast)
                    itself = pieces == tokens[seen][:, None]
                    best = (scores.masked_fill(itself, -torch.inf).argmax(1) for scores in (logits[:, pieces], similarities))
                    count("neighbours", next(best) == next(best))
        return {name: right[name] / all_[name] for name in all_ if all_[name]}
