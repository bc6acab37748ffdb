# Sourced by the recipes. Typed anywhere among a recipe's words, --help prints the comment at the recipe's head. No recipe that
# takes paths changes the folder, so they are relative to where they are typed.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0; }
for word; do [[ $word != @(-h|--help) ]] || usage; done

fail() { echo "error: $1" >&2; exit "${2:-2}"; }

is_supported() { # whether $1 runs Python 3.9 to 3.12 and can make environments
    [[ $("$1" --version 2>/dev/null) == "Python 3."@(9|10|11|12).* ]] && "$1" -m ensurepip --version >/dev/null 2>&1
}

interpreter() { # the first of these commands that is a supported Python, looked for on PATH and among pyenv's versions
    local name path
    for name; do
        for path in "$name" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/"$name"; do
            ! is_supported "$path" || { echo "$path" && return; }
        done
    done
}

install() { # make or repair .venv, and take Python and all commands from it
    bash "$root/recipes/setup.sh"
    local venv
    venv=$(cd "$root" && realpath -s "${VENV:-.venv}") && export PATH=$venv/bin:$PATH
}

lock() { # lock file $2 with descriptor $1 until this process and all that it started have ended, or the descriptor is closed
    # Processes that were killed hold their locks for a moment yet.
    eval "exec $1>>\"\$2\"" && flock --timeout 10 "$1"
}

quoted() { # $1 as a value of a Hydra override: backslashes count before a quote only
    local value quote="'"
    value=$(printf %s. "$1" | sed -zE "s/(\\\\*)'/\\1\\1\\\\'/g; s/(\\\\*)\\.\$/\\1\\1/")
    printf %s "$quote$value$quote"
}
