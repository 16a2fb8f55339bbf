#!/usr/bin/env bash
# Mini LibriSpeech (OpenSLR 31): five hours to train on, of which the readers of dev are held out;
# dev-clean-2 is the test set. Monophone states, OpenSLR's smallest 3-gram.
corpus_note="what asr-kd download made; without it the corpus is fetched into WORK/corpus"
. "$(dirname "$0")/../steps.sh"
. "$root/recipes/librispeech/stages.sh"
num_teachers=3
temperature=2
test_sets=dev-clean-2
sets="dev $test_sets"
parts=(train-clean-5 dev-clean-2)
parse_options "$@"

if begin_stage 1 "download, data directories"; then
  prepare_librispeech
fi

distil_from_stored_targets "Mini LibriSpeech, monophone states" "$data/$lm.arpa"
