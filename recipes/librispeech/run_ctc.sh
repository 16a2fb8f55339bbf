#!/usr/bin/env bash
# LibriSpeech spelled in subwords by CTC: see recipes/ctc.sh. It goes on from the features and the
# language model of run.sh; scales are tuned on the same part of the dev sets.
. "$(dirname "$0")/../steps.sh"
. "$(dirname "$0")/../ctc.sh"
num_teachers=3
test_sets="test-clean test-other"
parse_options "$@"
tune_data=$exp/tune
if [ -z "$dry_run" ]; then
  asr-kd subset "$feats/dev" --share 0.2 --out "$tune_data"
fi
spelling_teachers "LibriSpeech, CTC: teachers that can be averaged" "$data/3-gram.pruned.3e-7.arpa"
