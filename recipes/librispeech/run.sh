#!/usr/bin/env bash
# LibriSpeech (OpenSLR 12): 100, 460 or 960 hours to train on; scales are tuned on dev-clean and
# dev-other, tests are test-clean and test-other. Monophone states, OpenSLR's smallest 3-gram.
corpus_note="what asr-kd download made; without it the corpus is fetched into WORK/corpus"
. "$(dirname "$0")/../steps.sh"
. "$root/recipes/librispeech/stages.sh"
num_teachers=3
temperature=2
test_sets="test-clean test-other"
sets="dev $test_sets"
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
  100) train=(train-clean-100) flat_start_share=0.1 ;;
  460) train=(train-clean-100 train-clean-360) flat_start_share=0.02 ;;
  960) train=(train-clean-100 train-clean-360 train-other-500) flat_start_share=0.01 ;;
  *) echo "$0: --hours $hours: expected 100, 460 or 960" >&2; exit 2 ;;
esac

parts=("${train[@]}" dev-clean dev-other test-clean test-other)

if begin_stage 1 "download, data directories"; then
  prepare_librispeech "train=[$(IFS=,; echo "${train[*]}")]"
fi

distil_from_stored_targets "LibriSpeech, $hours hours, monophone states" "$data/$lm.arpa"
