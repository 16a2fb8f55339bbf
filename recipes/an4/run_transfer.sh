#!/usr/bin/env bash
# Transfer sets (paper, section 4): a small student that never trains on the frames of a vowel, with
# its biases corrected on dev; and one that learns from speech without transcripts. The teachers of
# run.sh label the former; the latter has a teacher of its own, trained on half of the speakers.
. "$(dirname "$0")/../steps.sh"
temperature=2
phone=IY  # the vowel of the spelled letters B, C, D, E, G, P, T, V and Z
notes=(
  "All students are a fifth of a teacher's size. soft: the soft targets of all teachers, T = $temperature; \
hard: hard labels; both on all training frames."
  "no-$phone-soft, no-$phone-hard: the loss counts no frame of $phone. -corrected: one offset for \
the biases of $phone, that of the fewest errors on dev."
  "teacher50: a teacher trained on half of the speakers. half-hard: a student on the hard labels of \
that half. half-unlabelled: on the other half, which it has no transcripts of, with the soft targets \
of teacher50; half-both: on both halves with these soft targets."
)
parse_options "$@"
need_teachers

# A repetition's halves: of a seed, so that each repetition has others.
make_halves() {  # make_halves seedN/transfer
  local k
  for k in 1 2; do
    asr-kd subset "$feats/train" --in-fold "$k/2" --by speaker --seed "$(seed_of "$1")" \
      --ali "$exp/ali_train" --out "$exp/$1/half$k"
  done
}

train_half() {  # train_half seedN/transfer/NAME
  train_data=$exp/${1%/*}/half1 train_model "$1"
}

dump_half() {  # dump_half seedN/transfer/targets50: for both halves
  asr-kd dump-targets "$exp/${1%/*}/teacher50" --data "$feats/train" --out "$exp/$1" \
    --temperature "$temperature"
}

student() {  # student seedN/transfer/NAME
  local folder=$exp/${1%/*} options=()
  case $1 in
    *-hard | */hard) ;;
    *) options+=(--targets "$folder/targets" "distill.temperature=$temperature") ;;
  esac
  case $1 in */no-*) options+=("frames.exclude=[${phone}_*]") ;; esac
  train_model "$1" ${options[@]+"${options[@]}"}
}

student_without_transcripts() {  # student_without_transcripts seedN/transfer/half-NAME
  local folder=$exp/${1%/*} data=$feats/train
  if [ "${1##*/}" = half-unlabelled ]; then data=$folder/half2; fi
  asr-kd train "$data" - --dev "$feats/dev" --dev-ali "$exp/ali_dev" --out "$exp/$1" \
    --targets "$folder/targets50" --config "$configs/transfer.yaml" \
    "distill.temperature=$temperature" "seed=$(seed_of "$1")60"
}

correct() {  # correct seedN/transfer/NAME
  asr-kd correct-bias "$exp/$1" --data "$feats/dev" --ali "$exp/ali_dev" --labels "${phone}_*" \
    --out "$exp/$1-corrected"
}

export phone
functions+=(make_halves train_half dump_half student student_without_transcripts correct)
left_out=$(echo transfer/no-$phone-{soft,hard})
all="transfer/soft transfer/hard $(for m in $left_out; do echo "$m $m-corrected"; done)
  $(echo transfer/{teacher50,half-{hard,unlabelled,both}})"

if begin_stage 1 "halves of the speakers, a teacher of one, soft targets"; then
  in_parallel make_halves $(of_all transfer)
  in_parallel train_half $(of_all transfer/teacher50)
  in_parallel dump_half $(of_all transfer/targets50)
  in_parallel dump_targets $(of_all transfer/targets)
fi

if begin_stage 2 "students"; then
  in_parallel student $(of_all transfer/soft transfer/hard $left_out)
  in_parallel train_half $(of_all transfer/half-hard)
  in_parallel student_without_transcripts $(of_all transfer/half-unlabelled transfer/half-both)
  in_parallel correct $(of_all $left_out)
fi

if begin_stage 3 "evaluation"; then
  in_parallel evaluate_model $(teachers_of_all) $(of_all $all)
fi

if begin_stage 4 "results"; then
  write_frame_results "AN4: transfer sets" teachers $all -- --labels "${phone}_*" \
    --difference "no-$phone-soft-corrected:no-$phone-soft" \
    --difference "no-$phone-hard-corrected:no-$phone-hard" \
    --difference "soft:no-$phone-soft-corrected" \
    --difference "no-$phone-soft-corrected:no-$phone-hard-corrected" \
    --difference half-unlabelled:half-hard --difference half-both:half-hard
  for n in $(seq "$seeds"); do
    for model in $left_out; do
      printf '\nRepetition %d, %s:\n\n' "$n" "${model#*/}"
      tail -n +3 "$exp/seed$n/$model-corrected/CORRECTION.md"
    done
  done >> "$results"
fi
