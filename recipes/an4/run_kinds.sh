#!/usr/bin/env bash
# Every kind of distillation in one table: the teachers of run.sh averaged by all rules, and one
# small student that learns from them in all ways; only what the name says differs.
. "$(dirname "$0")/../steps.sh"
title=AN4
notes=(
  "ensemble: the arithmetic mean of all teachers; -geometric: the geometric mean; -fitted: weights \
of the least cross-entropy on dev; -wer: by dev WER; -best: the teacher best on dev alone."
  "Students without another word: T = 2, the arithmetic mean of all teachers, stored; hard labels \
weigh half. hard: the labels alone. soft-T1: T = 1. geometric, fitted, best: of that average."
  "logits: the squared difference to the logits of the geometric mean, in place of cross-entropy."
  "essence-mass, essence-floor: the largest entries that hold 70%, those of at least 5%; scaled to \
add up to 1, or -bucket: with what is left as one more entry."
  "hints: a hidden layer also learns to give that of teacher 1; hints-two: those of two teachers. \
The weight of the hints falls to 0."
  "short: half as many layers as a teacher, of the same width; -first, -every: starts from the first \
ones of teacher 1, or from every second one; -hard: the labels alone, from random weights."
)
parse_options "$@"
need_teachers

decode_dev() {  # decode_dev seedN/teacherI
  asr-kd decode "$exp/$1" --data "$feats/dev" --tune-on "$feats/dev" --graph "$exp/graph" \
    --out "$exp/decode_dev/$1"
}

weigh() {  # weigh seedN/weights
  local seed=${1%%/*} models teacher decoded=()
  mapfile -t models < <(models_of "$seed/ensemble")
  for teacher in $(teachers_of "$(seed_of "$1")"); do
    decoded+=(--decoded "$exp/decode_dev/$teacher")
  done
  asr-kd weigh-teachers "${models[@]}" --data "$feats/dev" --ali "$exp/ali_dev" \
    --out "$exp/$1" "${decoded[@]}"
}

rule_options() {  # rule_options seedN RULE: sets options
  case $2 in
    geometric) options=(--mean geometric) ;;
    fitted | wer | best) options=(--weights "$exp/$1/weights:$2") ;;
    *) options=() ;;
  esac
}

evaluate_ensemble() {  # evaluate_ensemble seedN/ensemble, or seedN/ensemble-RULE
  local options
  rule_options "${1%%/*}" "${1##*-}"
  evaluate_model "$1" "${options[@]}"
}

dump_rule() {  # dump_rule seedN/targets_kinds/RULE
  local options
  rule_options "${1%%/*}" "${1##*/}"
  dump_targets "$1" "${options[@]}"
}

dump_others() {  # dump_others seedN/targets_kinds
  dump_targets "$1/T1" --temperature 1
  dump_targets "$1/logits" --mean geometric --keep all --temperature 1
}

student() {  # student seedN/kinds/NAME or seedN/short/NAME
  local exp_n=$exp/${1%%/*} targets=arithmetic options=()
  local hint='student: layers.1, teacher: layers.1, schedule: linear'
  case ${1#*/} in
    */hard) targets= ;;
    kinds/soft-T1) targets=T1 options=(distill.temperature=1) ;;
    kinds/soft-T2 | short/soft) ;;
    kinds/geometric) targets=geometric options=(distill.mean=geometric) ;;
    kinds/fitted | kinds/best) targets=${1##*/} ;;
    kinds/logits)
      targets=logits
      options=(distill.loss=logits distill.mean=geometric distill.temperature=1) ;;
    kinds/essence-mass*) options=(distill.essence.mass=0.7) ;;
    kinds/essence-floor*) options=(distill.essence.floor=0.05) ;;
    kinds/hints) options=(--teacher "$exp_n/teacher1" "distill.hints=[{$hint}]") ;;
    kinds/hints-two)
      options=(--teacher "$exp_n/teacher1" --teacher "$exp_n/teacher2"
        "distill.hints=[{$hint, weight: 0.5}, {$hint, weight: 0.5, of: 2}]") ;;
    short/first | short/every) options=(--init "$exp_n/teacher1" "init.layers=${1##*/}") ;;
  esac
  case $1 in
    */essence-*-bucket) options+=(distill.essence.rest=bucket) ;;
    */essence-*) options+=(distill.essence.rest=renormalise) ;;
  esac
  if [ -n "$targets" ]; then options+=(--targets "$exp_n/targets_kinds/$targets"); fi
  train_model "$1" "${options[@]}"
}

functions+=(decode_dev weigh rule_options evaluate_ensemble dump_rule dump_others student)
temperature=2
averages=$(echo ensemble{,-geometric,-fitted,-wer,-best})
stores=$(echo targets_kinds/{arithmetic,geometric,fitted,best})
students="$(echo kinds/{hard,soft-T1,soft-T2,geometric,fitted,best,logits})
  $(echo kinds/{essence-{mass,floor}{,-bucket},hints,hints-two} short/{hard,soft,first,every})"

if begin_stage 1 "weights of the teachers"; then
  in_parallel decode_dev $(teachers_of_all)
  in_parallel weigh $(of_all weights)
fi

if begin_stage 2 "soft targets"; then
  in_parallel dump_rule $(of_all $stores)
  in_parallel dump_others $(of_all targets_kinds)
fi

if begin_stage 3 "students"; then
  in_parallel student $(of_all $students)
fi

if begin_stage 4 "evaluation"; then
  in_parallel evaluate_ensemble $(of_all $averages)
  in_parallel evaluate_model $(teachers_of_all) $(of_all $students)
fi

if begin_stage 5 "results"; then
  pairs=(ensemble-{geometric,fitted,wer,best}:ensemble soft-{T1,T2}:hard
    {soft-T1,geometric,fitted,best,logits,essence-{mass,floor}{,-bucket},hints,hints-two}:soft-T2
    short-soft:short-hard short-{first,every}:short-soft)
  write_frame_results "$title: kinds of distillation" teachers $averages $students -- \
    $(printf -- '--difference %s\n' "${pairs[@]}")
  for n in $(seq "$seeds"); do
    printf '\n#%s, repetition %d\n' "$(head -n 1 "$exp/seed$n/weights/WEIGHTS.md")" "$n"
    tail -n +2 "$exp/seed$n/weights/WEIGHTS.md"
  done >> "$results"
fi
