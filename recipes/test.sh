#!/usr/bin/env bash
# Run all tests. Arguments go to pytest: bash recipes/test.sh tests/test_mixup.py
set -euo pipefail
cd "$(dirname "$0")/.."
bash recipes/setup.sh
# Two processes of one thread each: most tests wait for commands to start, and the models in them are tiny.
export OMP_NUM_THREADS=1
exec .venv/bin/python -m pytest -n 2 --dist loadfile "$@"
