"""Vanilla fine-tuning with transformers' Trainer from the encoder of a PLM directory: what ``accuracy.py`` compares with."""

import json
from collections import Counter
from dataclasses import replace

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from preprocess.exporters import hf_model, hf_tokenizer
from preprocess.text.readers import Reading, TextFile, every_example
from preprocess.text.tagged_sentences import open_tagged, tagged_sentences
from salt_fairseq.errors import InputError
from salt_fairseq.plm import Description, load_published, load_state

MAX_LENGTH = 128  # that of --max-length here
IGNORED = -100


def export_encoder(plm_dir, out):
    """Write a PLM directory in Hugging Face's layout, its encoder's own top layers in place of those of the LM head, in fp32."""
    description = replace(Description.load(plm_dir), weights_dtype="float32")
    state, published = load_state(plm_dir, description), load_published(plm_dir, description)
    encoder = {name: tensor for name, tensor in state.items() if not name.startswith("lm_head.layers.")}
    weights, ids = hf_model.tensors(encoder, description, published), hf_model.published_ids(description, published)
    tokenizer = hf_tokenizer.files(plm_dir, description, ids, description.architecture.positions, is_classifier=True)
    out.mkdir(parents=True)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    for name, value in {**tokenizer, "config.json": hf_model.config(description, published, weights)}.items():
        (out / name).write_text(json.dumps(value), encoding="utf-8")


class MeanClassifier(nn.Module):
    """What ``--pooling mean`` puts on BERT's body, written anew: the mean of all tokens, normalized, a dense layer, tanh, dropout
    and the classifier, both layers drawn as BERT draws its own."""

    def __init__(self, directory, labels, dropout=0.1):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(directory)
        dim = self.encoder.config.hidden_size
        self.norm = nn.LayerNorm(dim, eps=1e-12, elementwise_affine=False)
        self.dense, self.dropout, self.classifier = nn.Linear(dim, dim), nn.Dropout(dropout), nn.Linear(dim, labels)
        for layer in (self.dense, self.classifier):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def get_input_embeddings(self):
        return self.encoder.get_input_embeddings()

    def forward(self, input_ids, attention_mask, token_type_ids=None, labels=None):
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        features = self.encoder(**{name: value for name, value in inputs.items() if value is not None}).last_hidden_state
        is_token = attention_mask[:, :, None].float()
        mean = (features.float() * is_token).sum(1) / is_token.sum(1)
        logits = self.classifier(self.dropout(torch.tanh(self.dense(self.norm(mean)))))
        return {"logits": logits} | ({} if labels is None else {"loss": nn.functional.cross_entropy(logits.float(), labels)})


def model_of(args, directory, labels):
    """The model that is fine-tuned, with a new classifier of so many labels."""
    if args.tags:
        model = AutoModelForTokenClassification.from_pretrained(directory, num_labels=labels)
    elif args.pooling == "plm":
        model = AutoModelForSequenceClassification.from_pretrained(directory, num_labels=labels)
    elif Description.load(args.plm).body == "bert":
        model = MeanClassifier(directory, labels)
    else:
        raise InputError(f"--pooling mean: of {args.plm} the benchmark has no counterpart in transformers; leave it out")
    if args.freeze_embeddings:
        model.get_input_embeddings().requires_grad_(False)
    return model


def pairs(path, language):
    """``(texts, label)`` of each sentence or pair of a file."""
    for example in every_example(TextFile.open(path), language):
        yield [text for text in (example.sentence1, example.sentence2) if text is not None], example.label


def sentences(path, layout):
    """``(words, tags)`` of each sentence of a file with a tag for each word."""
    file = open_tagged(path, Reading(tags=layout))
    for block in file.blocks:
        for sentence in tagged_sentences(file, block, Counter()):
            yield sentence.words, sentence.tags


def encoded_pair(tokenizer, texts, label):
    return {**tokenizer(*texts, truncation=True, max_length=MAX_LENGTH), "labels": label}


def encoded_words(tokenizer, words, labels):
    """Labels stand at the first pieces of words, as in transformers' example of token classification."""
    found = tokenizer(words, is_split_into_words=True, truncation=True, max_length=MAX_LENGTH)
    word_of, at_pieces, last = found.word_ids(), [], None
    for word in word_of:
        at_pieces.append(IGNORED if word in (None, last) else labels[word])
        last = word
    return {**found, "labels": at_pieces}


def accuracy(args, seed, directory, files):
    """Fine-tune on ``files["train"]`` and score the rest after the last step: accuracy by subset, over pairs or words. A word
    that truncation cuts off counts as wrong."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    read = {name: list(sentences(path, args.tags) if args.tags else pairs(path, name.partition(".")[2] or "en")) for name, path in files.items()}
    names = sorted({label for _, found in read["train"] for label in (found if args.tags else [found])})

    def encoded(examples):
        if args.tags:
            return [encoded_words(tokenizer, words, [names.index(tag) for tag in tags]) for words, tags in examples]
        return [encoded_pair(tokenizer, texts, names.index(label)) for texts, label in examples]

    collator = DataCollatorForTokenClassification(tokenizer) if args.tags else DataCollatorWithPadding(tokenizer)
    trainer = Trainer(
        model_init=lambda: model_of(args, directory, len(names)),
        args=TrainingArguments(
            output_dir=str(args.work / f"trainer.{seed}"),
            per_device_train_batch_size=args.batch_size,
            per_device_eval_batch_size=64,
            max_steps=args.updates,
            learning_rate=args.lr,
            warmup_steps=args.warmup,
            lr_scheduler_type="linear",
            adam_epsilon=1e-8,
            weight_decay=0.0,
            max_grad_norm=1.0,
            bf16=args.dtype == "bf16",
            use_cpu=args.device == "cpu",
            seed=1_000_003 * seed,
            train_sampling_strategy="group_by_length",
            save_strategy="no",
            report_to=[],
            logging_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=encoded(read.pop("train")),
        data_collator=collator,
    )
    trainer.train()
    found = {}
    for name, examples in read.items():
        data = sorted(encoded(examples), key=lambda example: len(example["input_ids"]))  # little padding
        predicted = trainer.predict(data)
        right = (predicted.predictions.argmax(-1) == predicted.label_ids).sum()  # no label is as negative as IGNORED
        found[name] = 100 * float(right) / sum(len(labels) if args.tags else 1 for _, labels in examples)
    return found
