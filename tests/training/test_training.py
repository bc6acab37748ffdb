"""fairseq-train and fairseq-validate as typed, against transformers and against a second run."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from fairseq.optim.lr_scheduler.polynomial_decay_schedule import PolynomialDecayLRScheduleConfig
from omegaconf import OmegaConf
from transformers import BertConfig, BertModel, BertTokenizerFast, XLMRobertaConfig, XLMRobertaModel

from preprocess import binarize, distill
from salt_fairseq.criterions.salt_classification import SaltClassificationConfig
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.models.salt_encoder import SaltEncoderConfig
from salt_fairseq.optim.fused_adam import FusedAdamConfig
from salt_fairseq.plm import PLM
from salt_fairseq.tasks.salt_sentence_pair import SaltSentencePairConfig, SaltSentencePairTask
from salt_fairseq.tasks.salt_token_labelling import SaltTokenLabellingConfig
from support.in_process import call
from support.running import QUICKSTART, ROOT, read_tsv, run
from support.tagged import binarized as binarized_tags
from support.tagged import conll
from support.training import assert_equal_parameters, checkpoint, composed, trained, training, typed, validate

pytestmark = pytest.mark.slow

AUGMENT = ["--augment", "en,fr,es,de"]
SUBSETS = ["test.en", "test.fr", "test.en-de"]


def as_transformers(saved):
    """Hugging Face's model with the tensors of a checkpoint, whose ids are the fairseq ids."""
    state, arch = dict(saved["model"]), json.loads(saved["cfg"]["model"]["plm_description"])["architecture"]
    bert = arch["segments"] == 2
    names = {
        "embed_tokens": "embeddings.word_embeddings",
        "embed_positions": "embeddings.position_embeddings",
        "embed_segments": "embeddings.token_type_embeddings",
        "layernorm_embedding": "embeddings.LayerNorm",
        "out_proj": "attention.output.dense",
        "self_attn_layer_norm": "attention.output.LayerNorm",
        "fc1": "intermediate.dense",
        "fc2": "output.dense",
        "final_layer_norm": "output.LayerNorm",
    }
    theirs = {"pooler.dense.weight": state["pooler.weight"], "pooler.dense.bias": state["pooler.bias"]}
    for name, tensor in state.items():
        *layer, module, kind = name.removeprefix("encoder.").split(".")
        prefix = "".join(f"{part}." for part in layer).replace("layers.", "encoder.layer.")
        if module == "qkv":
            for part, third in zip(("query", "key", "value"), tensor.chunk(3)):
                theirs[f"{prefix}attention.self.{part}.{kind}"] = third
        elif module in names:
            theirs[f"{prefix}{names[module]}.{kind}"] = tensor
    offset = 0 if bert else 2  # XLM-R's positions begin after the padding id
    positions = theirs["embeddings.position_embeddings.weight"]
    theirs["embeddings.position_embeddings.weight"] = torch.cat([torch.zeros(offset, arch["dim"]), positions])
    config = (BertConfig if bert else XLMRobertaConfig)(
        vocab_size=arch["vocabulary"],
        hidden_size=arch["dim"],
        num_hidden_layers=arch["layers"],
        num_attention_heads=arch["heads"],
        intermediate_size=arch["ffn_dim"],
        pad_token_id=1,
        max_position_embeddings=arch["positions"] + offset,
        type_vocab_size=arch["segments"],
        layer_norm_eps=arch["layer_norm_eps"],
    )
    model = (BertModel if bert else XLMRobertaModel)(config)
    model.load_state_dict(theirs)
    return model.eval()


@torch.inference_mode()
def pooled(model, plm, first, second):
    """Hugging Face's pooled output, one pair of sentences at a time."""
    found = []
    for a, b in zip(first, second):
        ids = plm.encode(a["sentence1"], b["sentence2"])
        segments = torch.zeros_like(ids)
        if model.config.type_vocab_size == 2:
            segments[ids.tolist().index(2) + 1 :] = 1
        found.append(model(ids[None], token_type_ids=segments[None]).pooler_output[0])
    return torch.stack(found)


@pytest.mark.parametrize("name", [pytest.param("bert", marks=pytest.mark.long), "xlmr"])
def test_train_and_validate(name, request, tmp_path, caplog):
    """All examples are scored, and as transformers scores them; the PLM directory is gone by then."""
    data, plm = request.getfixturevalue(f"{name}_data"), request.getfixturevalue(f"{name}_plm")
    copy = shutil.copytree(plm, tmp_path / "plm")
    caplog.set_level("INFO")
    trained(training(data, copy, tmp_path / "ckpt", *AUGMENT))
    assert "train: 480 instances, 2,400 in all streams of an epoch" in caplog.text
    copy.rename(tmp_path / "elsewhere")
    saved = checkpoint(tmp_path / "ckpt")
    model, encoder = as_transformers(saved), PLM.load(plm)
    rows = {lang: read_tsv(QUICKSTART / f"test.{lang}.tsv") for lang in ("en", "fr", "de")}
    pairs = {"test.en": ("en", "en"), "test.fr": ("fr", "fr"), "test.en-de": ("en", "de")}
    features = {subset: pooled(model, encoder, rows[a], rows[b]) for subset, (a, b) in pairs.items()}
    # Eight updates teach the classifier nothing: a sharper one, whose predictions differ between the examples.
    centre, spread = features["test.en"].mean(0), features["test.en"].std(0)
    weight = torch.randn(2, len(centre), generator=torch.Generator().manual_seed(3)) / spread
    saved["model"] |= {"classifier.weight": weight, "classifier.bias": -weight @ centre}
    torch.save(saved, tmp_path / "sharp.pt")
    found = validate(data, tmp_path / "sharp.pt", SUBSETS, "--batch-size", 7)
    for subset, (language, _) in pairs.items():
        logits = (features[subset] - centre) @ weight.T
        labels = torch.tensor([int(row["label"]) for row in rows[language]])
        correct = int((logits.argmax(1) == labels).sum())
        loss = torch.nn.functional.cross_entropy(logits, labels).item() / np.log(2)
        assert 0 < (logits.argmax(1) == 1).sum() < 120
        assert found[subset]["examples"] == 120
        assert found[subset]["accuracy"] == round(100 * correct / 120, 2)
        assert found[subset]["loss"] == pytest.approx(loss, abs=2e-3)
    assert len({numbers["loss"] for numbers in found.values()}) == 3
    if name == "xlmr":
        assert validate(data, tmp_path / "sharp.pt", SUBSETS, "--max-tokens", 300, "--cpu") == {
            subset: {**numbers, "wps": 0, "wpb": pytest.approx(numbers["wpb"]), "bsz": pytest.approx(numbers["bsz"])} for subset, numbers in found.items()
        }


def test_fresh_model_starts_from_the_pretrained_pooler(bert_dir, bert_plm, bert_data):
    """Logits before the first update, against Hugging Face's own checkpoint, tokenizer and pooler."""
    task = SaltSentencePairTask(SaltSentencePairConfig(data=str(bert_data), seed=1))
    net = task.build_model(OmegaConf.structured(SaltEncoderConfig(_name="salt_encoder", plm=str(bert_plm)))).eval()
    dataset = task.load_dataset("test.fr")
    theirs, tokenizer = BertModel.from_pretrained(bert_dir).eval(), BertTokenizerFast.from_pretrained(bert_dir)
    rows = read_tsv(QUICKSTART / "test.fr.tsv")
    with torch.inference_mode():
        logits, _ = net(**dataset.collater([dataset[i] for i in range(120)])["net_input"])
        for i in range(0, 120, 10):
            words = tokenizer(rows[i]["sentence1"], rows[i]["sentence2"], return_tensors="pt")
            expected = net.classifier(theirs(**words).pooler_output)[0]
            torch.testing.assert_close(logits[i], expected, atol=1e-5, rtol=1e-4)


def test_recipe_config_trains_what_the_command_line_trains(bert_data, bert_plm, tmp_path):
    """fairseq-hydra-train and fairseq-train with equal options, and fairseq-train once more: equal bit for bit."""
    overrides = [f"task.data={bert_data}", f"model.plm={bert_plm}", "optimization.max_update=5", "common.seed=100003"]
    directories = {name: f"checkpoint.save_dir={tmp_path / name}" for name in ("hydra", "typed", "again")}
    run("fairseq-hydra-train", "--config-dir", "recipes/config", "--config-name", "xnli", *overrides, directories["hydra"], "hydra/job_logging=stdout")
    for name in ("typed", "again"):
        trained(typed(composed("xnli", *overrides, f"+{directories[name]}")))
    by_hydra, once, again = (checkpoint(tmp_path / name) for name in directories)
    assert_equal_parameters(by_hydra["model"], once["model"])
    assert_equal_parameters(once["model"], again["model"])
    assert by_hydra["cfg"]["task"] == once["cfg"]["task"] and once["optimizer_history"][-1]["num_updates"] == 5
    changed = [name for name in once["model"] if name.startswith("encoder.") and "bias" not in name]
    start = torch.load(bert_plm / "model.pt", weights_only=True)["model"]
    assert [name for name in changed if torch.equal(start[name], once["model"][name])] == []


@pytest.mark.parametrize("name, instances, epochs, interval", [("xnli", 392_702, 1, 1000), ("pawsx", 49_401, 3, 500)])
def test_recipe_configs_hold_the_papers_numbers(name, instances, epochs, interval):
    """Section 3.1 and appendix A of the paper."""
    config = composed(name, "task.data=x", "model.plm=x")
    assert config["optimizer"] == {"_name": "adam", "adam_betas": "(0.9,0.999)", "adam_eps": 1e-8, "weight_decay": 0}
    updates = epochs * -(-instances * 5 // 32)
    decay = {"total_num_update": updates, "end_learning_rate": 0, "power": 1, "warmup_updates": 0, "force_anneal": None}
    assert config["lr_scheduler"] == {"_name": "polynomial_decay", **decay}
    optimization = {"lr": [2e-5], "clip_norm": 1.0, "max_epoch": epochs, "max_update": updates}
    assert config["optimization"] == optimization and config["dataset"]["batch_size"] == 32
    assert config["checkpoint"]["save_interval_updates"] == config["dataset"]["validate_interval_updates"] == interval
    assert config["checkpoint"]["best_checkpoint_metric"] == "accuracy"
    assert config["task"]["augment"] == "en,fr,es,de" and config["task"]["thresholds"] == "source=1e-3,1e-7"


@pytest.mark.parametrize("name, one_stream, size, task", [
    ("sib200", True, 16, "salt_sentence_pair"),
    ("xsid", True, 32, "salt_sentence_pair"),
    ("panx", True, 32, "salt_token_labelling"),
    ("udpos", True, 32, "salt_token_labelling"),
    ("quickstart", False, 32, "salt_sentence_pair"),
])  # fmt: skip
def test_what_other_data_have_otherwise(name, one_stream, size, task):
    """Of what base.yaml says, too, which is read after the file of the data."""
    config = composed(name, "task.data=x", "model.plm=x", "+system=vanilla")
    assert (config["task"]["_name"], config["task"]["one_stream"], config["dataset"]["batch_size"]) == (task, one_stream, size)


@pytest.mark.parametrize("name, task", [("xnli", SaltSentencePairConfig), ("udpos", SaltTokenLabellingConfig)])
def test_every_option_is_a_key_of_the_yaml(name, task):
    """Hydra changes what is there, as in model.pooling=mean, and would ask for a + before anything else."""
    config = composed(name, "task.data=x", "model.plm=x", "+system=SALT", "+preset=stable")
    groups = {
        "task": task,
        "model": SaltEncoderConfig,
        "criterion": SaltClassificationConfig,
        "optimizer": FusedAdamConfig,
        "lr_scheduler": PolynomialDecayLRScheduleConfig,
    }
    filled_in = {"plm_description", "seed", "lr"}  # by the model, and from other groups
    for group, dataclass in groups.items():
        assert config[group].keys() - {"_name"} == {field.name for field in dataclasses.fields(dataclass)} - filled_in - {"_name"}


@pytest.mark.parametrize("name", [pytest.param("quickstart", marks=pytest.mark.long), "udpos"])
def test_updates_of_an_experiment_as_typed(name, bert_plm, bert_data, tmp_path):
    """In a process that nothing has told of the tasks: 5 epochs of 480 pairs, or 10 of 4 sentences, 32 a step."""
    data = bert_data if name == "quickstart" else binarized_tags(bert_plm, tmp_path / "data", conll(), "--tags", "detect").path
    words = ["--config-dir", ROOT / "recipes" / "config", "--config-name", name, "+system=vanilla", f"task.data={data}", f"model.plm={bert_plm}"]
    done = run("python", "-m", "salt_fairseq.experiments.updates", *words, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.stdout == {"quickstart": "75\n", "udpos": "10\n"}[name]


def test_single_sentences(xlmr_plm, tmp_path, caplog):
    """Data without ``input1``: binarized, distilled, trained on, validated."""
    for split, name in (("train", "train.en"), ("valid", "valid.en"), ("test.fr", "test.fr")):
        rows = read_tsv(QUICKSTART / f"{name}.tsv")
        lines = ["sentence1\tlabel", *(f"{row['sentence1']}\t{row['label']}" for row in rows)]
        (tmp_path / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = tmp_path / "data"
    call(binarize, xlmr_plm, data, "--subset", *(f"{s}={tmp_path / s}.tsv" for s in ("train", "valid", "test.fr")))
    call(distill, xlmr_plm, data, "--languages", "en,fr")
    assert not (data / "input1").exists() and not (data / "candidates" / "fr" / "input1").exists()
    assert not DataDirectory(data).is_pairs
    caplog.set_level("INFO")
    trained(training(data, xlmr_plm, tmp_path / "ckpt", "--augment", "en,fr", "--one-stream"))
    assert "train: 480 instances, 480 in all streams of an epoch" in caplog.text
    found = validate(data, tmp_path / "ckpt" / "checkpoint_best.pt", ["test.fr"], "--batch-size", 32)
    assert found["test.fr"]["examples"] == 120
