#!/usr/bin/env bash
# The fast tests on each Python from 3.9 to 3.12 that is on PATH or among pyenv's versions, each in an environment of its own
# below .venvs (1 GB, or 6 with CUDA libraries). Prints the rows of docs/versions.md. Arguments go to pytest.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root"
export OMP_NUM_THREADS=1
failed=0
echo "| Python | fairseq | torch | numpy | hydra-core | omegaconf | transformers | tests |"
echo "|---|---|---|---|---|---|---|---|"
for version in 3.9 3.10 3.11 3.12; do
    PYTHON=$(interpreter "python$version")
    [ "$PYTHON" ] || { echo "Python $version: not found" >&2 && continue; }
    export PYTHON VENV=.venvs/$version
    if ! bash recipes/setup.sh >&2; then
        failed=1
        echo "| $version | installation failed |"
        continue
    fi
    "$VENV/bin/python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not long" "$@" >"$VENV/tests.txt" 2>&1 || {
        failed=1
        cat "$VENV/tests.txt" >&2
    }
    "$VENV/bin/python" recipes/tools/versions.py "$VENV/tests.txt"
done
exit "$failed"
