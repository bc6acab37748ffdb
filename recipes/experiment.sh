#!/usr/bin/env bash
# The experiment that the other recipes share: import, binarize, distill and look up, then train and evaluate every system with
# every seed, and report. Hyper-parameters are in recipes/config/CONFIG.yaml, systems in recipes/config/system.
#
#   bash recipes/experiment.sh CONFIG [options] [-- Hydra overrides for fairseq-hydra-train]
#     --systems "A B …"    files of recipes/config/system; the first is the baseline (vanilla SALT)
#     --downloads DIR      the official download
#     --subset N=FILE …    further or other subsets, as preprocess/binarize.py takes them
#     --source-language L  of the training data; several, as en,de, are trained on together (en)
#     --languages L,…      of the download, only these and the source languages (all)
#     --plm SOURCE         what preprocess/import_plm.py imports, or a PLM directory (bert-base-multilingual-uncased)
#     --augment LANGS      target languages of SALT (en,fr,es,de)
#     --dictionary L=FILE… of CoSDA-ML and SCOPA
#     --synonyms FILE      of RS-DA
#     --seeds "1 2 …"      (1 2 3 4 5)
#     --jobs N             runs side by side, one thread each if there are several (1)
#     --updates N          for every system (the epochs of the YAML: then a system takes as many as it has streams)
#     --average N          evaluate the average of the last N checkpoints of a run, which are saved at each validation (1: the best)
#     --generalized SPLIT  evaluate all language pairs of this split, too
#     --out DIR            data, checkpoints and results, shared by the recipes (results/CONFIG)
#     --report NAME        tables and figures go to DIR/NAME (report)
#     --device cuda|cpu    for distillation and evaluation (cuda where there is one)
#     --force              make anew what was made with other settings, and all that depends on it
#
# What is finished is not done again, so the same command goes on where it was stopped; finished data need no --downloads,
# --subset, --dictionary or --synonyms. What each stage depends on is recorded beside what it makes (DIR/*.fingerprint), and other
# settings are refused without --force. A run's output goes to DIR/SYSTEM.SEED/log. A run that fails is named at the end, and the
# others go on. Once the data are ready, further commands on the same DIR take runs that nobody is at.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
words=("$@")
. "$root/recipes/options.sh"
export PYTHONSAFEPATH=1 # python -m finds the installed package, not a folder of that name here
install
mkdir -p "$out"
lock 9 "$out/.lock" ||
    fail "$out is being written by another recipe: wait until it has finished, or choose another output directory" 1

exec 7>> "$out/.recipes.lock" # of all recipes that are at work in the directory
alone=()
if flock --nonblock 7; then alone=(--alone); elif [ ${#force[@]} -gt 0 ]; then
    lock 7 "$out/.recipes.lock" || fail "other recipes are at work in $out: wait until they have finished to start anew" 1
    alone=(--alone)
fi
compared=("${sources[@]}" "${generalized[@]}" "${alone[@]}" "${force[@]}" --seeds $seeds)
[[ " $systems" != *" SALT"* ]] || compared+=(--augment "$augment")
[ ${#dictionaries[@]} -eq 0 ] || compared+=(--dictionary "${dictionaries[@]}")
[ "$average" -eq 1 ] || compared+=(--average "$average")
[ -z "$synonyms" ] || compared+=(--synonyms "$synonyms")
for system in $systems; do
    override "$system" "$@"
    compared+=(--system "$system" "${overrides[@]}")
done
python -m salt_fairseq.experiments.settings "$out" "${config_files[@]}" --plm "$plm" "${compared[@]}"
flock --shared 7

if [ ! -e "$plm_dir/plm.json" ]; then
    python "$root/preprocess/import_plm.py" "$plm" "$plm_dir"
fi
if [ ! -e "$data/meta.json" ]; then
    python "$root/preprocess/binarize.py" "$plm_dir" "$data" "${sources[@]}" "${tags[@]}"
fi
if [[ " $systems" == *" SALT"* && ! -e $data/candidates/${augment##*,}/meta.json ]]; then
    python "$root/preprocess/distill.py" "$plm_dir" "$data" --languages "$augment" "${device[@]}"
fi
if [ ${#dictionaries[@]} -gt 0 ] && [ ! -e "$data/lexicons/muse/meta.json" ]; then
    python "$root/preprocess/look_up.py" "$plm_dir" "$data" --name muse --dictionary "${dictionaries[@]}"
fi
if [ -n "$synonyms" ] && [ ! -e "$data/lexicons/synonyms/meta.json" ]; then
    python "$root/preprocess/look_up.py" "$plm_dir" "$data" --name synonyms --dictionary en="$synonyms" --include-word
fi
exec 9>&- # the data are ready: each run has a lock of its own

[ "$jobs" -eq 1 ] || export OMP_NUM_THREADS=1
for seed in $seeds; do
    for system in $systems; do printf '%s\0' "$system.$seed"; done
done | xargs --null --max-procs="$jobs" -I '{run}' bash "$root/recipes/run.sh" $$ '{run}' "${words[@]}" || true # see below

failed=() elsewhere=() results=()
for system in $systems; do
    files=()
    for seed in $seeds; do
        run=$out/$system.$seed
        if [ -e "$run.$ending" ]; then
            files+=("$system.$seed.$ending")
        elif [ -e "$run/.lock" ] && ! flock --nonblock "$run/.lock" true; then
            elsewhere+=("$system, seed $seed")
        else
            failed+=("$system, seed $seed: $(tail -n 1 "$run/log" 2>/dev/null || true) ($run/log)")
        fi
    done
    [ ${#files[@]} -eq 0 ] || results+=("$system=$(IFS=,; echo "${files[*]}")")
done
if [ ${#elsewhere[@]} -gt 0 ]; then
    echo "${#elsewhere[@]} runs are going on in another recipe, which will make the report: ${elsewhere[*]}"
elif [ ${#results[@]} -gt 0 ]; then
    # From there, since a comma in its path would end a name.
    (cd "$out" && flock .lock python -m salt_fairseq.report "${results[@]}" --out "$PWD/$report") || failed+=("the report")
fi
if [ ${#failed[@]} -gt 0 ]; then
    printf 'error: failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
