#!/usr/bin/env bash
# yesno: sixty recordings of one man saying eight Hebrew words, yes or no. A smoke test of the
# whole way on real speech, in two minutes.
corpus_note="the folder with waves_yesno/, or that folder itself"
. "$(dirname "$0")/../steps.sh"
num_teachers=2
parse_options "$@"
need_corpus

if begin_stage 1 "data directories"; then
  asr-kd prepare yesno --corpus "$corpus" --out "$data"
fi

distil_from_stored_targets "yesno" 1
