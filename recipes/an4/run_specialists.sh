#!/usr/bin/env bash
# A generalist (teacher 1 of run.sh), a specialist for each cluster of labels that it confuses, and
# both as one model.
. "$(dirname "$0")/../steps.sh"
title=AN4
num_teachers=1
clusters=8
own_options="  --clusters N      clusters of labels, and so specialists [$clusters]
  --soft            also specialists of all labels"

soft=
own_flag() {
  case $1 in
    --soft) soft=yes ;;
    *) return 1 ;;
  esac
}
own_option() {
  case $1 in
    --clusters) clusters=$2 ;;
    *) return 1 ;;
  esac
}
parse_options "$@"
if ! [[ $clusters =~ ^[1-9][0-9]*$ ]] || [ "$clusters" -lt 2 ]; then
  echo "$0: --clusters $clusters: expected a number from 2 on" >&2
  exit 2
fi
export clusters
notes=(
  "generalist: teacher 1 of run.sh. with-specialists: with $clusters specialists, each for a cluster \
of the labels that it confuses, with a dustbin for all others; on a frame that one is heard whose \
label is the generalist's most probable one. with-specialists-2: those of its two most probable ones."
  "control: the generalist trained on as the specialists are, on all frames alike; \
generalist-and-control: the mean of both."
)
need_teachers
if [ -n "$soft" ]; then
  notes+=("with-soft-specialists: specialists of all labels, with the generalist's soft targets on \
frames that are not special.")
fi

cluster() {  # cluster seedN/clusters
  asr-kd cluster-labels "$exp/${1%%/*}/teacher1" --data "$feats/train" --ali "$exp/ali_train" \
    --clusters "$clusters" --out "$exp/$1" --seed "$(seed_of "$1")"
}

specialist() {  # specialist seedN/specialists/K, seedN/specialists/soft-K or .../control
  local exp_n=$exp/${1%%/*} number=${1##*-} options=()
  number=${number##*/}
  case ${1##*/} in
    control) ;;
    soft-*) options=(--cluster "$exp_n/clusters:$number" specialist.rest=soft) ;;
    *) options=(--cluster "$exp_n/clusters:$number") ;;
  esac
  train_model "$1" --init "$exp_n/teacher1" ${options[@]+"${options[@]}"}
}

combine() {  # combine seedN/specialists/with-specialists and so on
  local exp_n=$exp/${1%%/*} members=() options=() k
  for k in $(seq "$clusters"); do
    case $1 in
      *soft*) members+=("$exp_n/specialists/soft-$k=$exp_n/clusters:$k") ;;
      *) members+=("$exp_n/specialists/$k") ;;
    esac
  done
  case $1 in *-2) options=(--num-active 2) ;; esac
  asr-kd combine-specialists "$exp_n/teacher1" "${members[@]}" --out "$exp/$1" \
    ${options[@]+"${options[@]}"}
}

# The models behind a row.
models_of() {  # models_of seedN/specialists/NAME
  local exp_n=$exp/${1%%/*}
  case ${1##*/} in
    generalist) echo "$exp_n/teacher1" ;;
    generalist-and-control) printf '%s\n' "$exp_n/teacher1" "$exp_n/specialists/control" ;;
    *) echo "$exp/$1" ;;
  esac
}

functions+=(cluster specialist combine)
members=$(seq "$clusters")
combined="specialists/with-specialists specialists/with-specialists-2"
if [ -n "$soft" ]; then
  members+=" $(seq -f 'soft-%g' "$clusters")"
  combined+=" specialists/with-soft-specialists"
fi
rows="specialists/generalist specialists/control specialists/generalist-and-control $combined"

if begin_stage 1 "clusters of labels"; then
  in_parallel cluster $(of_all clusters)
fi

if begin_stage 2 "specialists, and the generalist trained on"; then
  in_parallel specialist $(of_all specialists/control) \
    $(of_all $(printf 'specialists/%s ' $members))
  in_parallel combine $(of_all $combined)
fi

if begin_stage 3 "evaluation, decoding"; then
  in_parallel evaluate_model $(of_all $rows)
  in_parallel decode_model $(of_all $rows)
fi

if begin_stage 4 "results"; then
  write_frame_results "$title: specialists" $rows -- \
    --difference control:generalist \
    $(for role in $combined; do
      printf -- "--difference ${role#*/}:%s\n" generalist control generalist-and-control
    done)
  for n in $(seq "$seeds"); do
    printf '\n## Clusters of repetition %d\n' "$n"
    tail -n +2 "$exp/seed$n/clusters/CLUSTERS.md"
  done >> "$results"
fi
