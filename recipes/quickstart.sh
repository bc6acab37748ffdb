#!/usr/bin/env bash
# The main job on the embedded default, on two CPU cores in some minutes: PLM, data, candidates, vanilla fine-tuning and SALT with
# three seeds each, accuracy per language. What is finished is not done again; remove results/quickstart to start afresh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
out=results/quickstart
texts=$root/recipes/quickstart
subsets=(train="$texts/train.en.tsv" valid="$texts/valid.en.tsv")
for language in en ar de es fr it ru tr zh; do subsets+=("test.$language=$texts/test.$language.tsv"); done

bash "$root/recipes/experiment.sh" quickstart --plm embedded --subset "${subsets[@]}" --seeds "1 2 3" --jobs 2 --out "$out"
install
echo "some code-switched sentences (all of them: $out/sentences.html):"
python "$root/preprocess/show_candidates.py" "$out/plm" "$out/data" --languages en,fr,es,de --thresholds en=25%,50% \
    --sentences 2 --html "$out/sentences.html"
