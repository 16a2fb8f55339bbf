# Soft targets as regularisers (paper, section 6): the teacher's architecture on a small share of
# its data, on hard labels or on the soft targets of the teacher, which saw all of it. Sourced by
# recipes/*/run_regulariser.sh after steps.sh; it goes on from the first teacher of each repetition.

num_teachers=1
share=0.03
own_options="  --share S         part of the training frames, at least every label's [$share]"
notes=(
  "All that is not named is of all training data: the alignment, speakers' means and variances, the \
label prior of decoding; the best epoch is chosen on dev."
  "teacher1: all training data, hard labels, the epoch of the best dev accuracy. All others have its \
architecture and see train-share alone, which is the same for all seeds; their input is perturbed \
alike, with one exception that is named below."
  "hard: hard labels, the epoch of the best dev accuracy (early stopping). hard-last: the last epoch \
of the same training."
  "soft-last: soft targets of teacher1, stored, for the share as it is; no early stopping. Stored \
targets know no mixed utterances, so its input is not mixed."
  "online-last: soft targets of teacher1 for the very input that the student sees; no early stopping."
)

own_option() {
  case $1 in
    --share) share=$2 ;;
    *) return 1 ;;
  esac
}

dump_share() {  # dump_share seedN/regulariser/targets
  asr-kd dump-targets "$exp/${1%%/*}/teacher1" --data "$train_data" --out "$exp/$1" --keep all \
    --temperature "$temperature"
}

train_on_share() {  # train_on_share seedN/regulariser/NAME
  local seed=${1%%/*} options=("distill.temperature=$temperature" distill.hard_weight=0)
  case ${1##*/} in
    hard) options=() ;;
    soft) options+=(--targets "$exp/$seed/regulariser/targets" augment.mix.prob=0) ;;
    online) options+=(--teacher "$exp/$seed/teacher1") ;;
  esac
  train_model "$1" ${options[@]+"${options[@]}"}
}

evaluate_all() {  # evaluate_all seedN/NAME: on what it was trained on, too
  local model sets
  model=$(models_of "$1")
  sets="dev test" evaluate_model "$1"
  asr-kd evaluate "$model" --data "$train_data" --ali "$exp/ali_train" \
    --out "$exp/evaluate/$1/train-share"
  if [ "${1##*/}" = teacher1 ]; then sets=train evaluate_model "$1"; fi
}

soft_targets_as_regularisers() {  # soft_targets_as_regularisers TITLE
  local small="regulariser/hard regulariser/hard-last regulariser/soft-last regulariser/online-last"
  train_data=$exp/regulariser/train-share
  export train_data
  functions+=(dump_share train_on_share evaluate_all)
  if begin_stage 1 "a share of the training data with all labels, soft targets"; then
    asr-kd subset "$feats/train" --share "$share" --seed 1 --ali "$exp/ali_train" --cover \
      --out "$train_data"
    in_parallel dump_share $(of_all regulariser/targets)
  fi
  if begin_stage 2 "students of the share"; then
    in_parallel train_on_share $(of_all regulariser/hard regulariser/soft regulariser/online)
  fi
  if begin_stage 3 "evaluation, decoding"; then
    in_parallel evaluate_all $(of_all teacher1 $small)
    in_parallel decode_model $(of_all teacher1 $small)
  fi
  if begin_stage 4 "results"; then
    notes+=("train-share: $(cat "$train_data/part.txt")")
    sets="train train-share dev test" write_frame_results "$1: soft targets as regularisers" teacher1 $small -- \
      --won-back teacher1:hard:soft-last --won-back teacher1:hard:online-last \
      --won-back teacher1:hard-last:soft-last --won-back teacher1:hard-last:online-last \
      --difference soft-last:hard --difference online-last:hard
  fi
}
