"""Export a fine-tuned checkpoint, or an imported PLM, to a Hugging Face directory, and to the hub.

python preprocess/export_hf.py checkpoints/checkpoint_best.pt my-classifier
python preprocess/export_hf.py plm/xlmr my-plm
python preprocess/export_hf.py checkpoints/checkpoint_best.pt my-classifier --onnx --push-to-hub me/my-classifier
"""

from __future__ import annotations

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

import json
from pathlib import Path

from omegaconf import OmegaConf
from safetensors.torch import save_file

from preprocess.exporters import hf_model, hf_tokenizer, hub, model_card, onnx_file
from salt_fairseq.checkpoints import load_checkpoint, load_labels, plm_directory
from salt_fairseq.cli.arguments import command_parser
from salt_fairseq.cli.printable import print_line
from salt_fairseq.errors import InputError
from salt_fairseq.plm import Description, load_published, load_state
from salt_fairseq.storage.files import replacing

PROVENANCE = "salt_fairseq.json"  # marks a directory that may be replaced


def arguments():
    parser = command_parser(__doc__)
    add = parser.add_argument
    add(
        "source",
        metavar="SOURCE",
        type=Path,
        help="a checkpoint of fairseq-train, which becomes a classifier, or a PLM directory",
    )
    add("out", metavar="OUT", type=Path, help="directory to write")
    add("--plm", metavar="DIR", help="PLM directory with the tokenizer (default: the checkpoint's own)")
    add("--data", metavar="DIR", help="data directory with the labels (default: the checkpoint's own)")
    add("--results", metavar="FILE.json", help="output of salt_fairseq.evaluate, for the model card")
    add(
        "--onnx",
        action="store_true",
        help=f"also write {onnx_file.NAME}, after comparing its logits in onnxruntime with PyTorch's",
    )
    add("--push-to-hub", metavar="USER/NAME", help="then upload the directory to this repository of the Hugging Face hub")
    add("--private", action="store_true", help="make the repository private if --push-to-hub creates it")
    return parser.parse_args()


def export_plm(plm_dir: Path, out: Path, *, onnx: bool = False, repository: str | None = None) -> dict:
    """Write a PLM directory as a masked LM with the published names, vocabulary order and precision; returns its config.
    ``onnx`` and ``repository`` as in :func:`export_classifier`."""
    description = Description.load(plm_dir)
    state, published = load_state(plm_dir, description), load_published(plm_dir, description)
    weights = hf_model.tensors(state, description, published)
    config = hf_model.config(description, published, weights)
    tokenizer = hf_tokenizer.files(
        plm_dir,
        description,
        hf_model.published_ids(description, published),
        description.architecture.positions,
        is_classifier=False,
    )
    card = model_card.of_plm(description, repository)
    _write(out, [plm_dir], weights, config, tokenizer, card, {"plm": description.name}, onnx)
    return config


def export_classifier(
    path: Path,
    out: Path,
    plm_dir: str | None = None,
    data: str | None = None,
    results: str | None = None,
    *,
    onnx: bool = False,
    repository: str | None = None,
) -> dict:
    """Write a fine-tuned checkpoint as a classifier; returns ``config.json``.

    ``onnx``: whether to write ``model.onnx``, too. ``repository``: the name on the hub with which the example of the model
    card loads the model.
    """
    checkpoint = load_checkpoint(path)
    labels, sentences = load_labels(checkpoint, data)
    directory = plm_directory(checkpoint, plm_dir)
    scores = model_card.scores(results, checkpoint.sha256) if results else None
    description, plm_description = checkpoint.model.description, Description.load(directory)
    published = load_published(directory, plm_description)
    if plm_description.sha256["model.pt"] != description.sha256["model.pt"]:  # the same vocabulary, but another model
        published = {"ids": published["ids"]}
    task = hf_model.TOKENS if checkpoint.has_token_labels else hf_model.SEQUENCES
    is_mean = checkpoint.model.pooling == "mean"
    weights = hf_model.tensors(checkpoint.model.state_dict(), description, published, task, is_mean)
    cfg = checkpoint.cfg.model
    dropout = {"hidden": cfg.dropout, "attention": cfg.attention_dropout, "classifier": cfg.classifier_dropout}
    config = hf_model.config(description, published, weights, labels, dropout, is_mean, task)
    tokenizer = hf_tokenizer.files(
        directory,
        description,
        hf_model.published_ids(description, published),
        checkpoint.cfg.task.max_length,
        is_classifier=True,
    )
    provenance = {
        "checkpoint_sha256": checkpoint.sha256,
        "updates": checkpoint.updates,
        "seed": checkpoint.cfg.common.seed,
        "task": {**OmegaConf.to_container(checkpoint.cfg.task), "data": Path(checkpoint.cfg.task.data).name},
        "model": {**OmegaConf.to_container(cfg), "plm": description.name, "pooling": checkpoint.model.pooling},
    }
    del provenance["model"]["plm_description"]
    card = model_card.of_classifier(checkpoint, labels, sentences, scores, repository)
    inputs = [path, directory, *(given for given in (data, results) if given)]
    _write(out, inputs, weights, config, tokenizer, card, provenance, onnx)
    return config


def _write(out, inputs, weights, config, tokenizer, card, provenance, onnx):
    with replacing(out, marker=PROVENANCE, inputs=inputs) as directory:
        directory.mkdir()
        save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
        for name, value in {"config.json": config, **tokenizer, PROVENANCE: provenance}.items():
            indent = None if name == "tokenizer.json" else 2
            text = json.dumps(value, ensure_ascii=False, indent=indent)
            (directory / name).write_bytes(f"{text}\n".encode("utf-8", "backslashreplace"))  # as write_json does
        (directory / "README.md").write_text(card, encoding="utf-8")
        # safetensors makes its file unreadable for others.
        (directory / "model.safetensors").chmod((directory / "config.json").stat().st_mode)
        if onnx:
            onnx_file.write(directory, config["architectures"][0])


def main() -> None:
    args = arguments()
    if args.private and not args.push_to_hub:
        raise InputError("--private is for --push-to-hub: give both, or neither")
    if args.push_to_hub:
        hub.check(args.push_to_hub)
    if args.onnx:
        onnx_file.check_packages()
    options = {"onnx": args.onnx, "repository": args.push_to_hub}
    if args.source.is_dir() and (args.source / "plm.json").is_file():
        given = [f"--{name}" for name in ("plm", "data", "results") if getattr(args, name)]
        if given:
            raise InputError(f"{given[0]} is for checkpoints, and {args.source} is a PLM directory: leave it out")
        config = export_plm(args.source, args.out, **options)
    else:
        config = export_classifier(args.source, args.out, args.plm, args.data, args.results, **options)
    labels = f", labels {', '.join(config['label2id'])}" if "label2id" in config else ""
    print_line(f"wrote {args.out}: {config['architectures'][0]}, {config['vocab_size']:,} pieces{labels}, from {args.source}")
    if args.push_to_hub:
        print_line(f"uploaded it to {hub.push(args.out, args.push_to_hub, args.private)}")


if __name__ == "__main__":
    main()
