#!/usr/bin/env bash
# The built-in corpus: spoken letters and digits in noisy rooms, made here by espeak-ng.
# `make demo` is this recipe with --quick.
corpus_note="none is needed"
. "$(dirname "$0")/../steps.sh"
num_teachers=3
parse_options "$@"

if begin_stage 1 "speech"; then
  asr-kd prepare synth --out "$data" --nj "$nj" --config "$configs/corpus.yaml"
fi

if begin_stage 2 "features, language, graph"; then
  make_feats --config "$configs/features.yaml"
  asr-kd prepare-lang "$data/dict" --out "$lang"
  asr-kd train-lm "$data/lm_train.txt" --lang "$lang" --out "$exp/lm" order=1
  asr-kd make-graph "$lang" "$exp/lm" --out "$exp/graph"
fi

if begin_stage 3 "alignments by a monophone GMM"; then
  align_all
fi

if begin_stage 4 "baseline and teachers"; then
  in_parallel train_model $(of_all baseline) $(teachers_of_all)
fi

if begin_stage 5 "students: hard labels, soft targets"; then
  in_parallel dump_targets $(of_all targets)
  in_parallel distil_from_store $(of_all student)
  in_parallel train_model $(of_all hard-student)
fi

if begin_stage 6 "decoding"; then
  in_parallel decode_model mono $(of_all baseline) $(teachers_of_all) \
    $(of_all ensemble hard-student student)
fi

if begin_stage 7 "results"; then
  write_results "Built-in corpus" baseline ensemble hard-student student
fi
