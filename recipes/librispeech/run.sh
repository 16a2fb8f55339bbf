#!/usr/bin/env bash
# LibriSpeech (OpenSLR 12): 100, 460 or 960 hours to train on; scales are tuned on a part of
# dev-clean and dev-other, tests are test-clean and test-other. Context-dependent states; OpenSLR's
# smallest 3-gram decodes, the 4-gram rescores.
corpus_note="what asr-kd download made; without it the corpus is fetched into WORK/corpus"
. "$(dirname "$0")/../steps.sh"
. "$root/recipes/librispeech/stages.sh"
large_lm=4-gram
test_sets="test-clean test-other"
tune_share=0.2  # of dev
hours=100
own_options+="
  --hours N         of training speech: 100, 460 or 960 [$hours]"
own_option() {
  case $1 in
    --hours) hours=$2 ;;
    *) mirror_option "$@" ;;
  esac
}
parse_options "$@"
case $hours in
  100) train=(train-clean-100) ;;
  460) train=(train-clean-100 train-clean-360) ;;
  960) train=(train-clean-100 train-clean-360 train-other-500) ;;
  *) echo "$0: --hours $hours: expected 100, 460 or 960" >&2; exit 2 ;;
esac
dev=(dev-clean dev-other)

distil_with_tied_states "LibriSpeech, $hours hours"
