#!/usr/bin/env bash
# Benchmarks against the alternatives: bash recipes/benchmark.sh distill --text xnli.test.tsv [--shape xlmr] [--device cuda]
# Cases: distill, train, accuracy, evaluate, binarize, startup; --help of each says more. Results go to results/benchmark/CASE.json.
set -euo pipefail
cd "$(dirname "$0")/.."
bash recipes/setup.sh
case=${1:?name a case: distill, train, accuracy, evaluate, binarize or startup}
shift
# Not the extra of setup.py: with it, pip would install the torchaudio that fairseq names, which may not fit this torch.
[[ $case != @(train|accuracy) ]] || .venv/bin/python -m pip install --quiet accelerate
exec .venv/bin/python "tests/benchmarks/$case.py" "$@"
