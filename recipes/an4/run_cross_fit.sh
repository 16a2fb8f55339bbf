#!/usr/bin/env bash
# Cross-fitted targets beside plain ones. The teachers of run.sh have seen what they label; those
# made here leave out a fold of speakers each, and label only what they have not seen. As many
# teachers, the same student, a teacher's size.
. "$(dirname "$0")/../steps.sh"
title=AN4
num_teachers=6
folds=3
own_options="  --folds N         folds of speakers; teachers are a multiple of it [$folds]"

own_option() {
  case $1 in
    --folds) folds=$2 ;;
    *) return 1 ;;
  esac
}
parse_options "$@"
if ! [[ $folds =~ ^[2-9]$ ]] || [ $((num_teachers % folds)) != 0 ]; then
  echo "$0: --teachers $num_teachers --folds $folds: expected 2 to 9 folds that divide the teachers" >&2
  exit 2
fi
export folds
notes=(
  "plain: targets are the mean of $num_teachers teachers trained on all of the training set. \
cross-fitted: of $num_teachers others, each trained without one of $folds folds of speakers (the \
folds are drawn $((num_teachers / folds)) times); an utterance is labelled by those that have not \
seen it. hard: the labels alone."
  "cross-fit-teacher: those of cross-fitted. All students are the same network, from the same \
random start."
)

# Teacher I leaves out fold 1 + (I - 1) % folds of draw (I - 1) / folds.
take_part() {  # take_part teacherI
  local i=$((${1#teacher} - 1))
  asr-kd subset "$feats/train" --out "$exp/parts/$1" --ali "$exp/ali_train" \
    --out-of-fold "$((1 + i % folds))/$folds" --seed "$((i / folds))"
}

train_on_part() {  # train_on_part seedN/cross-fit/teacherI
  train_data=$exp/parts/${1##*/} train_model "$1"
}

dump_cross_fitted() {  # dump_cross_fitted seedN/targets_cross_fit
  local models=() teacher
  for teacher in $(teachers_of "$(seed_of "$1")" cross-fit/); do models+=("$exp/$teacher"); done
  asr-kd dump-targets "${models[@]}" --data "$feats/train" --out "$exp/$1" --cross-fit
}

student() {  # student seedN/cross-fit/NAME
  local options=()
  case ${1##*/} in
    plain) options=(--targets "$exp/${1%%/*}/targets_plain") ;;
    cross-fitted) options=(--targets "$exp/${1%%/*}/targets_cross_fit") ;;
  esac
  train_model "$1" --config "$configs/stored-student.yaml" epochs=15 ${options[@]+"${options[@]}"}
}

functions+=(take_part train_on_part dump_cross_fitted student)
own_teachers=$(for n in $(seq "$seeds"); do teachers_of "$n" cross-fit/; done)
students="cross-fit/hard cross-fit/plain cross-fit/cross-fitted"

if begin_stage 1 "teachers that leave out a fold"; then
  in_parallel take_part $(teachers_of 1 | cut -d / -f 2)
  in_parallel train_on_part $own_teachers
  in_parallel train_model $(teachers_of_all)
fi

if begin_stage 2 "soft targets"; then
  in_parallel dump_targets $(of_all targets_plain)
  in_parallel dump_cross_fitted $(of_all targets_cross_fit)
fi

if begin_stage 3 "students"; then
  in_parallel student $(of_all $students)
fi

if begin_stage 4 "evaluation, decoding"; then
  in_parallel evaluate_model $(teachers_of_all) $own_teachers $(of_all cross-fit/ensemble $students)
  in_parallel decode_model $(of_all $students)
fi

if begin_stage 5 "results"; then
  write_frame_results "$title: cross-fitted targets" teachers cross-fit/teachers cross-fit/ensemble $students -- \
    --difference cross-fitted:plain --difference plain:hard --difference cross-fitted:hard
fi
