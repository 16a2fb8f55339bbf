#!/usr/bin/env bash
# The built-in corpus: spoken letters and digits in noisy rooms, made here by espeak-ng.
# `make demo` runs this recipe with one seed.
corpus_note="none is needed"
. "$(dirname "$0")/../steps.sh"
num_teachers=3
temperature=2
notes=(
  "hard-student and student: the same small network, as in the paper's first experiment without \
regularisation of its own; teachers and baseline have dropout and perturbed input."
)
parse_options "$@"

if begin_stage 1 "speech"; then
  asr-kd prepare synth --out "$data" --nj "$nj" --config "$configs/corpus.yaml"
fi

distil_from_stored_targets "Built-in corpus: letters and digits in noisy rooms" 1 baseline
