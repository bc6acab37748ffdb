#!/usr/bin/env bash
# The experiment that the other recipes share: import, binarize, distill and look up, then train and evaluate every system with
# every seed, and report. Hyper-parameters are in recipes/config/CONFIG.yaml, systems in recipes/config/system. What is
# finished is not done again; a run that fails is reported at the end, and the others go on.
#
#   bash recipes/experiment.sh CONFIG [options] [-- Hydra overrides for fairseq-hydra-train]
#     --systems "A B …"    files of recipes/config/system; the first is the baseline (vanilla SALT)
#     --downloads DIR      the official download
#     --subset N=FILE …    further or other subsets, as preprocess/binarize.py takes them
#     --plm SOURCE         what preprocess/import_plm.py imports, or a PLM directory (bert-base-multilingual-uncased)
#     --augment LANGS      target languages of SALT (en,fr,es,de)
#     --dictionary L=FILE… of CoSDA-ML and SCOPA
#     --synonyms FILE      of RS-DA
#     --seeds "1 2 …"      (1 2 3 4 5)
#     --updates N          for every system (the epochs of the YAML: then a system takes as many as it has streams)
#     --generalized SPLIT  evaluate all language pairs of this split, too
#     --out DIR            data, checkpoints and results, shared by the recipes (results/CONFIG)
#     --report NAME        tables and figures go to DIR/NAME (report)
#     --device cuda|cpu    for distillation and evaluation (cuda where there is one)
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "error: $1" >&2; exit 2; }
config=${1:-}
[[ -n $config && -e recipes/config/$config.yaml ]] ||
    fail "no recipes/config/$config.yaml: name the data set first, xnli or pawsx"
shift

systems="vanilla SALT" plm=bert-base-multilingual-uncased augment=en,fr,es,de seeds="1 2 3 4 5" out=results/$config report=report
sources=() subsets=() dictionaries=() synonyms='' updates='' generalized=() device=()
while [ $# -gt 0 ]; do
    [[ $1 == -- || $# -gt 1 ]] || fail "$1 needs a value, or is no option; recipes/experiment.sh lists them"
    case $1 in
        --systems) systems=$2; shift 2 ;;
        --downloads) sources+=("--$config" "$2"); shift 2 ;;
        --subset) shift; while [ $# -gt 0 ] && [[ $1 == *=* ]]; do subsets+=("$1"); shift; done ;;
        --plm) plm=$2; shift 2 ;;
        --augment) augment=$2; shift 2 ;;
        --dictionary) shift; while [ $# -gt 0 ] && [[ $1 == *=* ]]; do dictionaries+=("$1"); shift; done ;;
        --synonyms) synonyms=$2; shift 2 ;;
        --seeds) seeds=$2; shift 2 ;;
        --updates) updates=$2; shift 2 ;;
        --generalized) generalized=(--generalized "$2"); shift 2 ;;
        --out) out=$2; shift 2 ;;
        --report) report=$2; shift 2 ;;
        --device) device=(--device "$2"); shift 2 ;;
        --) shift; break ;;
        *) fail "unknown option $1; recipes/experiment.sh lists them" ;;
    esac
done
for system in $systems; do
    [ -e "recipes/config/system/$system.yaml" ] ||
        fail "unknown system $system; recipes/config/system has $(cd recipes/config/system && echo *.yaml)"
done
[[ -z $updates || $updates =~ ^[1-9][0-9]*$ ]] || fail "--updates $updates: a whole number of at least 1 is needed"
for seed in $seeds; do
    [[ $seed =~ ^[0-9]{1,3}$ ]] || fail "--seeds \"$seeds\": whole numbers below 1000 are needed, separated by spaces"
done
bash recipes/setup.sh
export PATH=$PWD/.venv/bin:$PATH
[ ${#subsets[@]} -eq 0 ] || sources+=(--subset "${subsets[@]}")
data=$out/data
. recipes/lock.sh "$out"

if [ ! -e "$plm/plm.json" ]; then
    [ -e "$out/plm/plm.json" ] || python preprocess/import_plm.py "$plm" "$out/plm"
    plm=$out/plm
fi
[ -e "$data/meta.json" ] || python preprocess/binarize.py "$plm" "$data" "${sources[@]}"
if [[ " $systems" == *" SALT"* && ! -e $data/candidates/${augment##*,}/meta.json ]]; then
    python preprocess/distill.py "$plm" "$data" --languages "$augment" "${device[@]}"
fi
if [ ${#dictionaries[@]} -gt 0 ] && [ ! -e "$data/lexicons/muse/meta.json" ]; then
    python preprocess/look_up.py "$plm" "$data" --name muse --dictionary "${dictionaries[@]}"
fi
if [ -n "$synonyms" ] && [ ! -e "$data/lexicons/synonyms/meta.json" ]; then
    python preprocess/look_up.py "$plm" "$data" --name synonyms --dictionary en="$synonyms" --include-word
fi

epochs_of() { # updates that the YAML's epochs take SYSTEM: pairs x streams / batch
    python - "$data" "$config" "$@" <<'PY'
import json, math, sys
from omegaconf import OmegaConf
data, config, system, *overrides = sys.argv[1:]
cfg = OmegaConf.merge(OmegaConf.load(f"recipes/config/{config}.yaml"), OmegaConf.load(f"recipes/config/system/{system}.yaml"),
                      OmegaConf.from_dotlist([o for o in overrides if "=" in o]))
task = cfg.task
streams = (not task.no_original) + (task.variants if task.lexicon else 0) + len([*filter(None, str(task.augment).split(","))])
pairs = json.load(open(f"{data}/meta.json"))["subsets"]["train"]["examples"] * (1 if task.one_stream else streams)
print(cfg.optimization.max_epoch * math.ceil(pairs / cfg.dataset.batch_size))
PY
}

run() { # SYSTEM SEED and Hydra overrides: train and evaluate, unless that is done
    local system=$1 seed=$2 checkpoints=$out/$1.$2 max_update=$updates epochs=(optimization.max_epoch=0) salt=() && shift 2
    [ ! -e "$checkpoints$suffix" ] || return 0
    [[ $system != SALT && $system != SALT-without-mixup ]] || salt=("task.augment='$augment'")
    [ -n "$max_update" ] || { max_update=$(epochs_of "$system" "${salt[@]}" "$@") && epochs=(); }
    echo "== $system, seed $seed: $max_update updates"
    if [ ! -e "$checkpoints/trained" ]; then
        # fairseq adds the step to the seed, so neighbouring seeds would share their steps' draws.
        fairseq-hydra-train --config-dir recipes/config --config-name "$config" "+system=$system" task.data="$data" \
            model.plm="$plm" common.seed=$((seed * 1000003)) optimization.max_update="$max_update" "${epochs[@]}" \
            checkpoint.save_dir="$checkpoints" "${salt[@]}" "$@" || return 1
        touch "$checkpoints/trained"
    fi
    local checkpoint=$checkpoints/checkpoint_best.pt # by English accuracy; without a valid subset, the last
    [ -e "$checkpoint" ] || checkpoint=$checkpoints/checkpoint_last.pt
    python -m salt_fairseq.evaluate "$data" --path "$checkpoint" --subsets 'test.*' "${generalized[@]}" "${device[@]}" \
        --out "$checkpoints$suffix"
}
suffix=.json
[ ${#generalized[@]} -eq 0 ] || suffix=.generalized.json
failed=() results=()
for seed in $seeds; do
    for system in $systems; do
        run "$system" "$seed" "$@" || failed+=("$system, seed $seed")
    done
done
for system in $systems; do
    files=()
    for seed in $seeds; do [ ! -e "$out/$system.$seed$suffix" ] || files+=("$out/$system.$seed$suffix"); done
    [ ${#files[@]} -eq 0 ] || results+=("$system=$(IFS=,; echo "${files[*]}")")
done
[ ${#results[@]} -eq 0 ] || python -m salt_fairseq.report "${results[@]}" --out "$out/$report"
if [ ${#failed[@]} -gt 0 ]; then
    printf 'error: failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
