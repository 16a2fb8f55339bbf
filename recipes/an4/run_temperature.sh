#!/usr/bin/env bash
# Temperatures for narrow and wide students of the teachers of run.sh, in a table and a picture
# (paper, section 4: 2.5 to 4 was best for 30 units a layer, for 300 every T above 8 did).
. "$(dirname "$0")/../steps.sh"
title=AN4
notes=(
  "narrow: two hidden layers of 30 units. wide: of 300. narrow-hard and wide-hard: hard labels."
  "All others learn from the ensemble's soft targets alone: the soft part of the loss has smaller \
gradients at a high T, so that beside hard labels T would change the mixture too."
)
temperatures=1,2,3,4,6,8,20
own_options="  --temperatures A,B.. what is swept [$temperatures]"

own_option() {
  case $1 in
    --temperatures) temperatures=$2 ;;
    *) return 1 ;;
  esac
}
parse_options "$@"
need_teachers
temperatures=$(numbers_of "${temperatures//,/ }")

dump_all() {  # dump_all seedN/temperature/T<temperature>: all labels of each frame, whatever T
  temperature=${1##*/T} dump_targets "$1" --keep all
}

student() {  # student seedN/narrow/T<temperature>
  train_model "$1" --targets "$exp/${1%%/*}/temperature/T${1##*/T}" "distill.temperature=${1##*/T}"
}

functions+=(dump_all student)
swept=$(for t in $temperatures; do echo "narrow/T$t" "wide/T$t"; done)
all="narrow/hard wide/hard $swept"

if begin_stage 1 "soft targets of all temperatures"; then
  in_parallel dump_all $(of_all $(printf 'temperature/T%s ' $temperatures))
fi

if begin_stage 2 "students"; then
  in_parallel student $(of_all $swept)
  in_parallel train_model $(of_all narrow/hard wide/hard)
fi

if begin_stage 3 "evaluation"; then
  in_parallel evaluate_model $(teachers_of_all) $(of_all ensemble $all)
fi

if begin_stage 4 "results"; then
  picture=${results%.md}.svg
  notes+=("![frame accuracy against temperature]($(basename "$picture"))")
  write_frame_results "$title: temperatures" teachers ensemble $(tr ' ' '\n' <<< "$all" | LC_ALL=C sort -V)
  python "$root/tools/plot_temperature.py" "$work/compare$part" --set dev --out "$picture"
fi
