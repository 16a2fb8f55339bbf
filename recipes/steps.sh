# The steps that every recipe shares, in the order in which the data flows. Sourced by
# recipes/*/run.sh, which calls them with what its corpus needs, and by recipes/*/run_*.sh, which
# go on from the teachers that run.sh trained in the same --work.
#
# A step is a few `asr-kd` commands, each of which makes one folder. What is up to date is skipped
# and what was killed goes on, so a recipe can be called again at any time.

set -euo pipefail

recipe=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
root=$(cd "$recipe/../.." && pwd)
name=$(basename "$recipe")
script=$(basename "$0" .sh)
part=${script#run}  # empty, or _kinds of run_kinds.sh
configs=$root/configs/$name

stage=1
stop_stage=100
nj=$(nproc)
corpus=
work=$root/work/$name
results=
dry_run=
seeds=1
num_teachers=5
temperature=1
test_sets=test   # what is decoded; scales are tuned on dev, for the first of them
sets="dev test"  # what models are evaluated on
notes=()
gmm=mono         # of the table; use_tied_states changes these four
ali=             # alignments, less _SET [EXP/ali]
train_ali=       # that of feats/train [EXP/ali_train]
graph=           # [EXP/graph]
tune_data=       # what scales are tuned on [FEATS/dev]
nbest=           # hypotheses of an utterance that decoding keeps, where they are to be rescored
lm_file=         # what decoded, and what rescores: ARPA files
large_lm_file=
overrides=       # lines of NAME:KEY=VALUE

usage() {
  cat <<USAGE
usage: recipes/$name/$script.sh [options]
  --corpus DIR      where the corpus is${corpus_note:+ ($corpus_note)}
  --work DIR        where everything is made [$work]
  --configs DIR     configurations [$configs]
  --results FILE    where the table is written [WORK/RESULTS$part.md]
  --stage N         first stage [$stage]
  --stop-stage N    last stage [the last]
  --nj N            local processes [$nj]
  --seeds N         repetitions, each with teachers and students of its own [$seeds]
  --teachers N      teachers of each repetition [$num_teachers]
  --set NAME:KEY=VALUE
                    a setting in place of that of configs/$name/NAME.yaml; NAME may be a pattern
                    (teacher*); may repeat; or @FILE, a file of such lines
  --dry-run         print the stages, do nothing
USAGE
  if [ -n "${own_options:-}" ]; then echo "$own_options"; fi
}

# A recipe's own options: it defines these anew.
own_flag() { return 1; }    # own_flag --NAME: takes it, or fails
own_option() { return 1; }  # own_option --NAME VALUE
given=()                    # those that were given, as they were

parse_options() {
  while [ $# -gt 0 ]; do
    if own_flag "$1"; then
      given+=("$1")
      shift
      continue
    fi
    if [[ $1 == --* && $1 != --help && $1 != --dry-run && $# -lt 2 ]]; then
      echo "$0: $1 needs a value" >&2
      exit 2
    fi
    case $1 in
      --corpus) corpus=$2; shift 2 ;;
      --work) work=$2; shift 2 ;;
      --configs) configs=$(cd "$2" && pwd); shift 2 ;;
      --results) results=$2; shift 2 ;;
      --stage) stage=$2; shift 2 ;;
      --stop-stage) stop_stage=$2; shift 2 ;;
      --nj) nj=$2; shift 2 ;;
      --seeds) seeds=$2; shift 2 ;;
      --teachers) num_teachers=$2; shift 2 ;;
      --set)
        if [[ $2 == @* ]]; then overrides+=$(grep -v '^ *\(#\|$\)' "${2#@}")$'\n'
        else overrides+=$2$'\n'; fi
        given+=("$1" "$2")
        shift 2 ;;
      --dry-run) dry_run=yes; shift ;;
      -h | --help) usage; exit 0 ;;
      *)
        if ! own_option "$1" "${2:-}"; then
          echo "$0: unknown option $1" >&2
          usage >&2
          exit 2
        fi
        given+=("$1" "$2")
        shift 2 ;;
    esac
  done
  local number
  for number in "$stage" "$stop_stage" "$nj" "$seeds" "$num_teachers"; do
    if ! [[ $number =~ ^[1-9][0-9]*$ ]]; then
      echo "$0: $number: expected a number from 1 on" >&2
      exit 2
    fi
  done
  need_settings
  command -v asr-kd > /dev/null || PATH=$root/.venv/bin:$PATH
  if [ -z "$dry_run" ]; then
    mkdir -p "$work"
    work=$(cd "$work" && pwd)
  fi
  results=${results:-$work/RESULTS$part.md}
  data=$work/data feats=$work/feats lang=$work/lang exp=$work/exp
  export root configs nj data feats lang exp num_teachers temperature sets test_sets overrides
  export gmm ali train_ali graph tune_data nbest lm_file large_lm_file
}

# Steps that have a file of settings only where a recipe wants others than the default ones.
own_settings="flat_start tree tied_gmm decode"

need_settings() {  # that --set names settings that there are
  local line known name
  while IFS= read -r line; do
    if [ -z "$line" ]; then continue; fi
    if ! [[ $line =~ ^[^:=]+:[a-z_0-9.]+= ]]; then
      echo "$0: --set $line: expected NAME:KEY=VALUE" >&2
      exit 2
    fi
    known=
    for name in "$configs"/*.yaml "$configs"/*/*.yaml $own_settings; do
      name=${name#"$configs"/} name=${name%.yaml}
      if [[ $name == ${line%%:*} ]]; then known=yes; fi
    done
    if [ -z "$known" ]; then
      echo "$0: --set $line: no $configs/${line%%:*}.yaml" >&2
      exit 2
    fi
  done <<< "$overrides"
}

settings() {  # settings NAME: sets `config`: the options of NAME.yaml, where there is one, and --set
  local line
  config=()
  if [ -e "$configs/$1.yaml" ]; then config=(--config "$configs/$1.yaml"); fi
  while IFS= read -r line; do
    if [[ -n $line && $1 == ${line%%:*} ]]; then config+=("${line#*:}"); fi
  done <<< "$overrides"
}

numbers_of() {  # numbers_of "1.0 4": 1 4, as the folders of temperatures are named
  local number
  for number in $1; do
    if ! [[ $number =~ ^[0-9]+(\.[0-9]+)?$ ]]; then
      echo "$0: $number: expected a temperature" >&2
      exit 2
    fi
  done
  LC_ALL=C printf '%g\n' $1 | paste -sd ' '
}

need_corpus() {
  if [ -n "$dry_run" ]; then return; fi
  if [ -z "$corpus" ]; then
    echo "$0: --corpus DIR is needed: $corpus_note" >&2
    exit 2
  fi
  if ! [ -d "$corpus" ]; then
    echo "$0: --corpus $corpus: no such folder" >&2
    exit 2
  fi
  corpus=$(cd "$corpus" && pwd)
}

estimate() { :; }  # estimate NUMBER: what a stage costs, where a recipe knows

begin_stage() {  # begin_stage NUMBER TITLE: whether the stage is asked for
  [ "$1" -ge "$stage" ] && [ "$1" -le "$stop_stage" ] || return 1
  if [ -n "$dry_run" ]; then
    echo "$name, stage $1: $2$(estimate "$1")"
    return 1
  fi
  echo "== $name, stage $1: $2" >&2
}

# One stage's models are trained or decoded $nj at a time with one thread each: small networks use
# two cores better as two processes than as two threads. Logs are in $exp/log.
in_parallel() {  # in_parallel FUNCTION ARGUMENT...: calls FUNCTION ARGUMENT for each
  local function=$1
  shift
  mkdir -p "$exp/log"
  export -f "${functions[@]}"
  printf '%s\n' "$@" |
    OMP_NUM_THREADS=1 xargs -n 1 -P "$nj" bash -euo pipefail -c 'logged "$0" "$1"' "$function"
}

logged() {  # logged FUNCTION ARGUMENT
  local log="$exp/log/$1.${2//\//-}.log" start=$SECONDS status
  set +e  # as the condition of an `if` the step would go on after a command that failed
  (set -e; "$1" "$2") > "$log" 2>&1
  status=$?
  set -e
  if [ "$status" != 0 ]; then
    echo "$1 $2 failed; the end of $log:" >&2
    tail -n 20 "$log" >&2
    return 255  # xargs starts no more
  fi
  echo "   $1 $2: $((SECONDS - start)) s" >&2
}

# Features of all sets; without options, ready-made ones. Those of feats/train are of $data/train, or
# of $train_sound.
make_feats() {  # make_feats [OPTION...]
  local set
  asr-kd make-feats "${train_sound:-$data/train}" --out "$feats/train" --nj "$nj" "$@"
  for set in dev $test_sets; do
    asr-kd make-feats "$data/$set" --out "$feats/$set" --nj "$nj" "$@"
  done
}

flat_start() {  # a monophone GMM, and its alignment of feats/train
  local config
  settings flat_start
  asr-kd flat-start "$feats/train" "$lang" --out "$exp/mono" --nj "$nj" \
    ${config[@]+"${config[@]}"}
}

# A monophone GMM from a flat start; with it every set is aligned, once and for all systems, and
# its transition probabilities go into the graph that all systems are decoded with.
align_all() {  # align_all LM
  local set
  flat_start
  for set in train dev $test_sets; do
    asr-kd align "$feats/$set" "$lang" "$exp/mono" --out "$exp/ali_$set" --nj "$nj"
  done
  asr-kd make-graph "$lang" "$1" --transitions "$exp/mono" --out "$exp/graph"
}

# Context-dependent states. Trees are grown from a monophone alignment of feats/train; the GMM of
# their leaves begins with that alignment and ends with its own; it aligns the other sets, and its
# transition probabilities go into a graph. After use_tied_states all is trained and decoded so.
tied_states() {  # tied_states LM ALI
  local set config tied=$exp/lang_tied
  settings tree
  asr-kd build-tree "$feats/train" "$lang" "$2" --out "$tied" --nj "$nj" \
    ${config[@]+"${config[@]}"}
  asr-kd convert-ali "$2" --from "$lang" --to "$tied" --out "$exp/ali_tree" --nj "$nj"
  settings tied_gmm
  asr-kd train-gmm "$feats/train" "$tied" "$exp/ali_tree" --out "$exp/tied" --nj "$nj" \
    ${config[@]+"${config[@]}"}
  for set in dev $test_sets; do
    asr-kd align "$feats/$set" "$tied" "$exp/tied" --out "$exp/ali_tied_$set" --nj "$nj"
  done
  asr-kd make-graph "$tied" "$1" --transitions "$exp/tied" --out "$exp/graph_tied"
}

use_tied_states() { gmm=tied ali=$exp/ali_tied train_ali=$exp/tied graph=$exp/graph_tied; }

seed_of() {  # seed_of seedN/NAME
  local n=${1#seed}
  echo "${n%%/*}"
}

teachers_of() {  # teachers_of N [FOLDER/]: the teachers of repetition N
  local i
  for i in $(seq "$num_teachers"); do echo "seed$1/${2:-}teacher$i"; done
}

teachers_of_all() {
  local n
  for n in $(seq "$seeds"); do teachers_of "$n"; done
}

of_all() {  # of_all NAME...: each name in every repetition
  local n name
  for n in $(seq "$seeds"); do
    for name in "$@"; do echo "seed$n/$name"; done
  done
}

need_teachers() {  # of all repetitions
  local model
  for model in $(teachers_of_all); do
    if ! [ -e "$exp/$model/manifest.json" ]; then
      echo "$0: no $exp/$model; first: recipes/$name/run.sh --work $work --seeds $seeds" \
        "--teachers $num_teachers --stop-stage 4" >&2
      exit 2
    fi
  done
}

# Trains exp/seedN/NAME as configs/<recipe>/NAME.yaml says. All teachers share teacher.yaml, or that
# of $teacher_settings, all models of a folder FOLDER/NAME share FOLDER.yaml, unless one has a file
# of its own. The training set is feats/train, or $train_data.
train_model() {  # train_model seedN/NAME [OPTION...]
  local model=$1 name=${1#*/} config seed
  shift
  seed=$(($(seed_of "$model") * 100))
  case ${name##*/} in
    teacher*)
      seed=$((seed + ${name##*teacher}))
      [ -e "$configs/$name.yaml" ] || name=${teacher_settings:-teacher} ;;
    baseline) seed=$((seed + 50)) ;;
    *)
      seed=$((seed + 60))
      [ -e "$configs/$name.yaml" ] || name=${name%/*} ;;
  esac
  settings "$name"
  asr-kd train "${train_data:-$feats/train}" "${train_ali:-$exp/ali_train}" --dev "$feats/dev" \
    --dev-ali "${ali:-$exp/ali}_dev" --out "$exp/$model" "${config[@]}" "$@" "seed=$seed"
}

# The folder of a model, a line each; `ensemble` and names like `ensemble-geometric` stand for all
# teachers, NAME-last for the last epoch of NAME.
models_of() {  # models_of seedN/NAME
  local teacher
  case ${1##*/} in
    ensemble*) for teacher in $(teachers_of "$(seed_of "$1")"); do echo "$exp/$teacher"; done ;;
    *-last) echo "$exp/${1%-last}/last" ;;
    *) echo "$exp/$1" ;;
  esac
}

# The averaged posteriors of a repetition's teachers, on disk ...
dump_targets() {  # dump_targets seedN/targets [OPTION...]
  local out=$1 models
  shift
  mapfile -t models < <(models_of "${out%%/*}/ensemble")
  asr-kd dump-targets "${models[@]}" --data "$feats/train" --out "$exp/$out" \
    --temperature "$temperature" "$@"
}

distil_from_store() {  # distil_from_store seedN/NAME
  train_model "$1" --targets "$exp/${1%/*}/targets" "distill.temperature=$temperature"
}

# ... or the teachers on line, on the very input that the student sees.
distil_on_line() {  # distil_on_line seedN/NAME: it starts from the first teacher's weights
  local options=(--init "$exp/${1%/*}/teacher1") teacher
  for teacher in $(teachers_of "$(seed_of "$1")"); do options+=(--teacher "$exp/$teacher"); done
  train_model "$1" "${options[@]}"
}

# The student of stored targets and its control, which need not wait for each other.
train_soft_or_hard() {  # train_soft_or_hard seedN/student, or seedN/hard-student
  case ${1##*/} in
    hard-student) train_model "$1" ;;
    *) distil_from_store "$1" ;;
  esac
}

train_from_teacher() {  # train_from_teacher seedN/NAME: hard labels, the first teacher's weights
  train_model "$1" --init "$exp/${1%/*}/teacher1"
}

# Decodes the test sets with scales tuned on dev; with $nbest also what they are tuned on, so that
# rescoring can be tuned on its lists.
decode_model() {  # decode_model seedN/NAME, or mono
  local models set config scales options tune=${tune_data:-$feats/dev}
  settings decode
  options=(--graph "${graph:-$exp/graph}" ${config[@]+"${config[@]}"} ${nbest:+--nbest "$nbest"})
  scales=(--tune-on "$tune")
  mapfile -t models < <(models_of "$1")
  for set in $test_sets; do
    asr-kd decode "${models[@]}" --data "$feats/$set" "${scales[@]}" "${options[@]}" \
      --ali "${ali:-$exp/ali}_$set" --out "$exp/decode_$set/$1"
    scales=(--scales-from "$exp/decode_$set/$1")
  done
  if [ -n "$nbest" ]; then
    asr-kd decode "${models[@]}" --data "$tune" "${scales[@]}" "${options[@]}" \
      --ali "${ali:-$exp/ali}_dev" --out "$exp/decode_dev/$1"
  fi
}

# Replaces the language model that decoded by a larger one; its weight is tuned on dev.
rescore_model() {  # rescore_model seedN/NAME, or mono
  local set scales=(--tune-on "$exp/decode_dev/$1")
  for set in $test_sets; do
    asr-kd rescore "$exp/decode_$set/$1" "${scales[@]}" --lm "$large_lm_file" --old-lm "$lm_file" \
      --out "$exp/rescored_$set/$1"
    scales=(--scales-from "$exp/rescored_$set/$1")
  done
}

# Frame errors and cross-entropy on all of $sets, without a search.
evaluate_model() {  # evaluate_model seedN/NAME [OPTION...]
  local model=$1 models set
  shift
  mapfile -t models < <(models_of "$model")
  for set in $sets; do
    asr-kd evaluate "${models[@]}" --data "$feats/$set" --ali "${ali:-$exp/ali}_$set" \
      --out "$exp/evaluate/$model/$set" "$@"
  done
}

recipe_note() {  # what to call for the same table
  local note="Recipe: recipes/$name/$script.sh --seeds $seeds --teachers $num_teachers" word
  for word in ${given[@]+"${given[@]}"}; do
    if [[ $word == *[^A-Za-z0-9_.,/=-]* ]]; then word=${word@Q}; fi
    note+=" $word"
  done
  echo "$note"
}

# The table of all repetitions; a test set that was rescored, too, is one more test set.
write_results() {  # write_results TITLE ROLE...
  local title=$1 systems=() options=() n teacher role note pair set of decoded folders=
  shift
  for pair in student:hard-student student:teacher ensemble:teacher; do
    options+=(--difference "$pair")
  done
  for set in $test_sets; do
    folders+=" $set=$exp/decode_$set"
    if [ -n "$nbest" ]; then folders+=" $set-$large_lm=$exp/rescored_$set"; fi
  done
  for set in $folders; do
    of=:${set%%=*} decoded=${set#*=}
    if [ "$(wc -w <<< "$folders")" = 1 ]; then of=; fi  # a single one needs no name
    systems+=("gmm$of=$decoded/$gmm")
    for n in $(seq "$seeds"); do
      for teacher in $(teachers_of "$n"); do systems+=("teacher@$n$of=$decoded/$teacher"); done
      for role in "$@"; do systems+=("$role@$n$of=$decoded/seed$n/$role"); done
    done
  done
  for note in "$(recipe_note)" "${notes[@]}"; do
    options+=(--note "$note")
  done
  asr-kd compare "${systems[@]}" --title "$title" --out "$work/compare" "${options[@]}"
  cp "$work/compare/RESULTS.md" "$results"
  echo "table written to $results" >&2
}

# The table of what was evaluated on $sets, and decoded, in all repetitions. The role of narrow/T2 is
# narrow-T2; what is in the folder of the script, such as kinds of run_kinds.sh, goes without it.
# `teachers` are all of them, as are `FOLDER/teachers`. Word errors stand where all were decoded.
write_frame_results() {  # write_frame_results TITLE NAME... [-- OPTION...]
  local title=$1 systems=() options=() n role model models set decoded note folder=${part#_}
  shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    for n in $(seq "$seeds"); do
      role=${1#"${folder//_/-}/"} models="seed$n/$1"
      if [[ $1 == *teachers ]]; then role=${1%s} models=$(teachers_of "$n" "${1%teachers}"); fi
      role=${role//\//-} decoded=()
      for model in $models; do
        for set in $sets; do
          if [ -e "$exp/evaluate/$model/$set/manifest.json" ]; then
            systems+=("$role@$n=$exp/evaluate/$model/$set")
          fi
        done
        if [ -e "$exp/decode_test/$model/manifest.json" ]; then
          decoded+=("$role@$n=$exp/decode_test/$model")
        fi
      done
      if [ "${#decoded[@]}" = "$(wc -w <<< "$models")" ]; then systems+=("${decoded[@]}"); fi
    done
    shift
  done
  for note in "$(recipe_note)" "${notes[@]}"; do
    options+=(--note "$note")
  done
  asr-kd compare-frames "${systems[@]}" --title "$title" --out "$work/compare$part" \
    "${options[@]}" "${@:2}"
  cp "$work/compare$part/RESULTS.md" "$results"
  echo "table written to $results" >&2
}

functions=(logged settings seed_of teachers_of models_of train_model dump_targets distil_from_store
  distil_on_line train_soft_or_hard train_from_teacher decode_model rescore_model evaluate_model)

# Stages 2 to 7 of a recipe whose student learns from stored targets. The language model is an ARPA
# file, or an n-gram of the training transcripts.
distil_from_stored_targets() {  # distil_from_stored_targets TITLE ARPA|LM_ORDER [baseline]
  local title=$1 lm=$2 order=
  shift 2
  if [[ $lm =~ ^[0-9]$ ]]; then order=$lm lm=$exp/lm; fi
  if begin_stage 2 "features, language"; then
    settings features
    make_feats "${config[@]}"
    asr-kd prepare-lang "$data/dict" --out "$lang"
    if [ -n "$order" ]; then
      asr-kd train-lm "$data/lm_train.txt" --lang "$lang" --out "$lm" "order=$order"
    fi
  fi
  if begin_stage 3 "alignments by a monophone GMM, graph"; then
    align_all "$lm"
  fi
  if begin_stage 4 "${*:+$* and }teachers"; then
    in_parallel train_model $(teachers_of_all) $(of_all "$@")
  fi
  if begin_stage 5 "students: soft targets, hard labels"; then
    in_parallel dump_targets $(of_all targets)
    in_parallel train_soft_or_hard $(of_all student hard-student)
  fi
  if begin_stage 6 "decoding"; then
    in_parallel decode_model "$gmm" $(teachers_of_all) $(of_all "$@" ensemble hard-student student)
  fi
  if begin_stage 7 "results"; then
    write_results "$title" "$@" ensemble hard-student student
  fi
}
