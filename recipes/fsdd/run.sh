#!/usr/bin/env bash
# Free Spoken Digit Dataset: isolated digits of six speakers at 8 kHz. The official test set is
# recordings 0 to 4 of each digit; --leave-out SPEAKER tests on that speaker instead, who is then
# in no other set.
corpus_note="the folder with recordings/, or that folder itself"
. "$(dirname "$0")/../steps.sh"
num_teachers=3

leave_out=
own_options="  --leave-out NAME  the speaker to test on"
own_option() {
  case $1 in
    --leave-out) leave_out=$2 ;;
    *) return 1 ;;
  esac
}
parse_options "$@"
need_corpus

if begin_stage 1 "data directories"; then
  asr-kd prepare fsdd --corpus "$corpus" --out "$data" ${leave_out:+"leave_out=$leave_out"}
fi

distil_from_stored_targets "FSDD, ${leave_out:-official} test set" 2
