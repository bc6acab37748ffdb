#!/usr/bin/env bash
# Run all tests. Arguments go to pytest: bash recipes/test.sh tests/test_mixup.py
set -euo pipefail
cd "$(dirname "$0")/.."
bash recipes/setup.sh
exec .venv/bin/python -m pytest "$@"
