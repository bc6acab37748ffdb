"""Commands run as a user types them, the quickstart's rows, random weights."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "recipes" / "quickstart"
LANGUAGES = ["en", "fr", "es", "de"]


def run(*command, check=True, cwd=ROOT, **env):
    """Run a command as a user types it, ``python`` and ``fairseq-*`` taken from this environment.

    With ``check``, a failure fails the test and shows what was printed. Returns the completed process.
    """
    words = [str(word) for word in command]
    scripts = Path(sys.executable).parent
    words[0] = sys.executable if words[0] == "python" else str(scripts / words[0])
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **env}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)
    if check and done.returncode:
        pytest.fail(f"{' '.join(words)} exited with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done


def read_tsv(path):
    """Rows of a quickstart TSV as dicts."""
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def randomize(model, seed):
    """Weights large enough that predictions differ clearly, biases and LayerNorms that are not the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("LayerNorm.weight") or name.endswith("layer_norm.weight"):
                parameter.copy_(1 + 0.1 * noise)
            else:
                parameter.copy_(0.1 * noise)
    return model.eval()
