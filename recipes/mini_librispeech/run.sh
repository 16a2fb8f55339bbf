#!/usr/bin/env bash
# Mini LibriSpeech (OpenSLR 31): five hours to train on, of which the readers of dev are held out;
# dev-clean-2 is the test set. Context-dependent states; OpenSLR's smallest 3-gram decodes, a larger
# one rescores.
corpus_note="what asr-kd download made; without it the corpus is fetched into WORK/corpus"
. "$(dirname "$0")/../steps.sh"
. "$root/recipes/librispeech/stages.sh"
large_lm=3-gram.pruned.1e-7
test_sets=dev-clean-2
train=(train-clean-5)
dev=()  # readers of the training part
parse_options "$@"

distil_with_tied_states "Mini LibriSpeech"
