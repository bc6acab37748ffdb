#!/usr/bin/env bash
# Benchmarks against the alternatives: bash recipes/benchmark.sh distill --text xnli.test.tsv [--shape xlmr] [--device cuda]
# Cases: distill, train, accuracy (with --tags, of words), evaluate, binarize, startup, page; python tests/benchmarks/CASE.py --help says more. Results go to results/benchmark/CASE.json.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
case=${1:-}
[ -n "$case" ] && [ -e "$root/tests/benchmarks/$case.py" ] || fail "name a case: distill, train, accuracy, evaluate, binarize, startup or page"
shift
install
# Not the extra of pyproject.toml: with it, pip would install the torchaudio that fairseq names, which may not fit this torch.
[[ $case != @(train|accuracy) ]] || python -m pip install --quiet accelerate
exec python "$root/tests/benchmarks/$case.py" "$@"
