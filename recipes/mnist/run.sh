#!/usr/bin/env bash
# MNIST, the paper's own experiment (section 4): a teacher, a small net on hard labels and on the
# teacher's soft targets, students of all temperatures, and transfer sets that lack digits.
# A page of images plays the part of an utterance. The teacher is shared by all repetitions.
corpus_note="the folder of the four idx files, gzipped or not"
. "$(dirname "$0")/../steps.sh"
num_teachers=1
own_options="  --download        fetch the corpus first, in place of --corpus
  --quick           the same tables in minutes, of one repetition of short trainings (quick/ in
                    the configurations)
  --temperatures L  of the students of 30 and of 300 units, such as '1 4 20'
  --sweep-seeds N   repetitions of these students [1]"
notes=(
  "teacher: 2 x 1200 ReLU, dropout, a limit on the norm of weights, images that move by up to two \
pixels; one for all seeds, trained in two rounds. All others: 2 x 800 ReLU, without any of that."
  "Of each training it is the last model that counts; dev chose the corrections below."
  "hard-student: hard labels. student: the teacher's soft targets alone, T = 20, and weight decay, \
which the paper's had not."
  "no-threes: as student, on the training images but the threes. sevens-and-eights: on those alone."
  "-corrected: the output bias of 3, or the biases of 7 and 8, moved by what gives the fewest \
errors on dev."
  "The paper's errors: teacher 67, hard-student 146, student 74, no-threes 206 (133 on threes) and \
corrected 109 (14), sevens-and-eights 4,730 and corrected 1,320."
)
page_note="Speakers: pages of images, for nobody tells who wrote what."
temperature_notes=(
  "narrow: 2 x 30 ReLU. wide: 2 x 300 ReLU. -hard: hard labels. -T: the teacher's soft targets \
alone."
  "The paper's: with 300 units all T above 8 about the same, with 30 units T from 2.5 to 4 the best."
)
labels="0 1 2 3 4 5 6 7 8 9"
temperature=20
narrow_temperatures="1 2 2.5 3 4 6 8 20"
wide_temperatures="1 4 8 20"

seeds=3
sweep_seeds=1

download= quick=
own_flag() {
  case $1 in
    --download) download=yes ;;
    --quick) quick=yes seeds=1 ;;
    *) return 1 ;;
  esac
}
own_option() {
  case $1 in
    --temperatures) narrow_temperatures=$2 wide_temperatures=$2 ;;
    --sweep-seeds) sweep_seeds=$2 ;;
    *) return 1 ;;
  esac
}
parse_options "$@"
narrow_temperatures=$(numbers_of "$narrow_temperatures")
wide_temperatures=$(numbers_of "$wide_temperatures")
if [ -n "$quick" ]; then  # beside the long trainings, if there are any, and not in their place
  if [ "$results" = "$work/RESULTS.md" ]; then results=$work/RESULTS_quick.md; fi
  configs=$configs/quick exp=$exp-quick
fi
if ! [[ $sweep_seeds =~ ^[1-9][0-9]*$ ]]; then
  echo "$0: --sweep-seeds $sweep_seeds: expected a number from 1 on" >&2
  exit 2
fi
if [ "$num_teachers" != 1 ]; then
  echo "$0: --teachers $num_teachers: all repetitions share one teacher" >&2
  exit 2
fi
if [ -n "$download" ]; then
  asr-kd download mnist --out "$work/download"
  corpus=$work/download
fi
need_corpus

distil() {  # distil seedN/NAME, or seedN/NAME/T<temperature>
  local t=$temperature
  case $1 in */T*) t=${1##*/T} ;; esac
  train_model "$1" --targets "$exp/targets/T$t" "distill.temperature=$t"
}

correct_bias() {  # correct_bias seedN/NAME
  local digit options=()
  for digit in $(digits_of "${1#*/}"); do options+=(--labels "$digit"); done
  asr-kd correct-bias "$exp/$1/last" --data "$feats/dev" --ali "$exp/ali_dev" "${options[@]}" \
    --out "$exp/$1-corrected"
}

digits_of() {  # digits_of NAME: the digits whose biases are wrong
  case $1 in
    no-threes) echo 3 ;;
    sevens-and-eights) echo 7 8 ;;
  esac
}

functions+=(distil correct_bias digits_of)

named() {  # named PREFIX TEMPERATURE...: PREFIX/T1 PREFIX/T2 ...
  local prefix=$1 t
  shift
  for t in "$@"; do echo "$prefix/T$t"; done
}

compare_models() {  # compare_models PART TITLE NAME... [-- OPTION...]: all repetitions
  local part=$1 title=$2 systems=("teacher=$exp/evaluate/teacher/last") n role note
  local options=()
  shift 2
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    role=${1%/last}
    for n in $(seq "$seeds"); do
      systems+=("${role//\//-}@$n=$exp/evaluate/seed$n/$1")
    done
    shift
  done
  for note in "$recipe" "${notes[@]}" "$page_note"; do
    options+=(--note "$note")
  done
  asr-kd compare-frames "${systems[@]}" --title "$title" --out "$work/compare$part" --errors \
    "${options[@]}" "${@:2}"
  cp "$work/compare$part/RESULTS.md" "${results%.md}$part.md"
  echo "table written to ${results%.md}$part.md" >&2
}

# Of each training the last model, as the budget of epochs leaves it.
last() {  # last NAME...: NAME/last ...
  printf '%s/last\n' "$@"
}

narrow=$(named narrow $narrow_temperatures)
wide=$(named wide $wide_temperatures)
swept=$(last $narrow narrow/hard $wide wide/hard)
of_sweep() { seeds=$sweep_seeds of_all "$@"; }
students="$(last hard-student student)
  no-threes/last no-threes-corrected sevens-and-eights/last sevens-and-eights-corrected"

if begin_stage 1 "data"; then
  asr-kd prepare mnist --corpus "$corpus" --out "$data" --config "$configs/corpus.yaml"
  make_feats
  for set in train dev test; do
    asr-kd label-frames "$feats/$set" --labels "$labels" --out "$exp/ali_$set"
  done
fi

if begin_stage 2 "teacher, its soft targets"; then
  options=(--dev "$feats/dev" --dev-ali "$exp/ali_dev" seed=1)
  asr-kd train "$feats/train" "$exp/ali_train" "${options[@]}" --out "$exp/first-teacher" \
    --config "$configs/first-teacher.yaml"
  asr-kd train "$feats/train" "$exp/ali_train" "${options[@]}" --out "$exp/teacher" \
    --config "$configs/teacher.yaml" --init "$exp/first-teacher/last"
  asr-kd dump-targets "$exp/teacher/last" --data "$feats/train" --out "$exp/targets" --keep all \
    --temperature "$(printf '%s\n' 1 $narrow_temperatures $wide_temperatures $temperature |
      LC_ALL=C sort -gu | paste -sd ,)"
fi

if begin_stage 3 "small nets: soft targets, hard labels"; then
  in_parallel distil $(of_all student)
  in_parallel train_model $(of_all hard-student)
fi

if begin_stage 4 "students of 30 and of 300 units, at all temperatures"; then
  in_parallel distil $(of_sweep $wide $narrow)
  in_parallel train_model $(of_sweep wide/hard narrow/hard)
fi

if begin_stage 5 "transfer sets without threes, of sevens and eights only"; then
  in_parallel distil $(of_all no-threes sevens-and-eights)
  in_parallel correct_bias $(of_all no-threes sevens-and-eights)
fi

if begin_stage 6 "evaluation"; then
  in_parallel evaluate_model teacher/last $(of_all $students) $(of_sweep $swept)
fi

if begin_stage 7 "results"; then
  recipe=$(recipe_note)
  compare_models "" "MNIST" $students -- --labels 3 \
    --difference student:hard-student
  notes=("${temperature_notes[@]}")
  seeds=$sweep_seeds compare_models _temperature "MNIST: temperatures" $swept
  python "$root/tools/plot_temperature.py" "$work/compare_temperature" --set dev \
    --out "${results%.md}_temperature.svg"
fi
