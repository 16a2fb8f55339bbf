# Teachers that spell: trained by CTC, averaged although each puts its spikes at other frames.
# Sourced by recipes/*/run_ctc.sh after steps.sh; it goes on from the features of run.sh.
#
# Four ways to teachers that can be averaged, beside the failure. A method's teachers are
# exp/seedN/ctc/METHOD/teacherI; the best of `plain` is the seed model and the guide of others.

usage_methods="plain init guided frames nbest"
methods=$usage_methods
streaming=
own_options="  --methods LIST    plain, which all others need, and those of [$methods] to compare
  --streaming NAME  the method whose teachers a student that streams learns from, or none [the last]"
own_option() {
  case $1 in
    --methods) methods=$2 ;;
    --streaming) streaming=$2 ;;
    *) return 1 ;;
  esac
}
own_settings+=" ctc/decode ctc/search"
notes=(
  "All teachers of a repetition differ by their seeds alone. plain: nothing makes them agree; init: \
they start from the plain teacher of the lowest loss on dev; guided: it guides their spikes; \
frames: CTC and the cross-entropy with the alignment that it makes; nbest: the plain teachers' \
lists of whole sequences, scored by all of them."
  "ensemble: frames are averaged; shared: the teachers search together, and probabilities of what \
they spell are averaged."
  "Students are of one size, start, input and length of training: student-alone learns by CTC \
alone; the others by CTC, and from two of a method's teachers, drawn for each batch, that label the \
very input (nbest: from the lists; students that stream: from the stored average)."
  "streaming: students that see little of what follows, as configs/*/ctc/streaming.yaml says, and \
no more of a speaker than that; their teachers see all."
)

need_methods() {
  local method
  for method in $methods; do
    if [[ " $usage_methods " != *" $method "* ]]; then
      echo "$0: --methods $methods: $method: expected some of $usage_methods" >&2
      exit 2
    fi
  done
  if [[ " $methods " != *" plain "* ]]; then methods="plain $methods"; fi
  streaming=${streaming:-$(frame_methods | tail -n 1)}
  if [[ " none $(frame_methods | paste -sd ' ') " != *" $streaming "* ]]; then
    echo "$0: --streaming $streaming: expected none, or one of --methods with frames" >&2
    exit 2
  fi
  if [ -z "$dry_run" ] && ! [ -e "$feats/train/manifest.json" ]; then
    echo "$0: no $feats/train; first: recipes/$name/run.sh --work $work --stop-stage 2" >&2
    exit 2
  fi
}

frame_methods() { tr ' ' '\n' <<< "$methods" | grep -vx nbest; }  # those with teachers of their own

ctc_teachers() {  # ctc_teachers METHOD...: of all repetitions
  local n method
  for n in $(seq "$seeds"); do
    for method in "$@"; do teachers_of "$n" "ctc/$method/"; done
  done
}

of_methods() {  # of_methods NAME METHOD...: ctc/METHOD/NAME in every repetition
  local what=$1 method
  shift
  for method in "$@"; do of_all "ctc/$method/$what"; done
}

prepare_units() {  # prepare_units LM
  local set config
  settings ctc/units
  asr-kd train-units "$feats/train" --out "$exp/ctc/units" "${config[@]}"
  for set in train dev; do
    asr-kd encode-text "$feats/$set" "$exp/ctc/units" --out "$exp/ctc/tokens_$set"
  done
  asr-kd make-ctc-graph "$exp/ctc/units" "$1" --out "$exp/ctc/graph"
}

train_ctc() {  # train_ctc seedN/ctc/NAME [OPTION...]
  train_ali=${train_tokens:-$exp/ctc/tokens_train} ali=$exp/ctc/tokens train_model "$@"
}

seed_model() {  # seed_model seedN: the plain teacher of the lowest loss on dev
  local teacher
  for teacher in $(teachers_of "$(seed_of "$1/")" ctc/plain/); do
    awk -v folder="$exp/$teacher" '/"dev_ctc_loss"/ {loss = $2 + 0} END {print loss, folder}' \
      "$exp/$teacher/manifest.json"
  done | sort -gs | sed -n '1s/^[^ ]* //p'
}

# A teacher by a method; the ctc/METHOD.yaml of a method is that of its teachers where it has one.
train_teacher() {  # train_teacher seedN/ctc/METHOD/teacherI
  local repetition=${1%%/*} method
  method=${1#*/ctc/} method=${method%%/*}
  local teacher_settings=ctc/$method
  [ -e "$configs/$teacher_settings.yaml" ] || teacher_settings=ctc/teacher
  case $method in
    plain) train_ctc "$1" ;;
    init) train_ctc "$1" --init "$(seed_model "$repetition")" ;;
    guided) train_ctc "$1" --guide "$(seed_model "$repetition")" ;;
    frames) train_tokens=$exp/$repetition/ctc/ali_train train_ctc "$1" ctc.frame_weight=1.0 ;;
  esac
}

align_tokens() {  # align_tokens seedN/ctc/ali_train: the best paths of the seed model
  asr-kd align-ctc "$feats/train" "$exp/ctc/tokens_train" "$(seed_model "${1%%/*}")" \
    --out "$exp/$1"
}

# The folders of a model's networks; METHOD/ensemble and METHOD/shared are all of its teachers.
spellers_of() {  # spellers_of seedN/ctc/NAME
  local teacher
  case $1 in
    */ensemble | */shared)
      for teacher in $(teachers_of "$(seed_of "$1")" "ctc/$(basename "$(dirname "$1")")/"); do
        echo "$exp/$teacher"
      done ;;
    *) echo "$exp/$1" ;;
  esac
}

dump_average() {  # dump_average seedN/ctc/METHOD/targets
  local models
  mapfile -t models < <(spellers_of "${1%/*}/ensemble")
  asr-kd dump-targets "${models[@]}" --data "$feats/train" --out "$exp/$1"
}

dump_lists() {  # dump_lists seedN/ctc/lists
  local models
  mapfile -t models < <(spellers_of "${1%/*}/plain/ensemble")
  asr-kd dump-nbest "${models[@]}" --data "$feats/train" --units "$exp/ctc/units" --out "$exp/$1"
}

students_of_a_repetition() {
  local student
  for student in alone $methods; do echo "student/$student"; done
  if [ "$streaming" != none ]; then printf '%s\n' streaming/alone "streaming/$streaming"; fi
}

role_of() {  # role_of KIND/METHOD, or KIND/alone
  if [ "${1#*/}" = alone ]; then echo "${1%/*}-alone"; else echo "${1#*/}-${1%/*}"; fi
}

# Two of the teachers, drawn for each batch, label the very input that a student sees. One that
# streams has another input, and learns from the stored average.
train_student() {  # train_student seedN/ctc/student/METHOD, or .../alone; likewise ctc/streaming
  local folder=${1%%/*}/ctc method=${1##*/} options=() teacher
  case $1 in
    */alone) ;;
    */nbest) options=(--nbest "$exp/$folder/lists") ;;
    */streaming/*) options=(--targets "$exp/$folder/$method/targets") ;;
    *)
      options=("distill.teachers_per_batch=$((num_teachers < 2 ? 1 : 2))")
      for teacher in $(spellers_of "$folder/$method/ensemble"); do
        options+=(--teacher "$teacher")
      done ;;
  esac
  train_ctc "$1" ${options[@]+"${options[@]}"}
}

decode_words() {  # decode_words seedN/ctc/NAME: words of the language model, scales tuned on dev
  local models set config scales=(--tune-on "${tune_data:-$feats/dev}")
  settings ctc/decode
  mapfile -t models < <(spellers_of "$1")
  for set in $test_sets; do
    asr-kd decode "${models[@]}" --data "$feats/$set" --graph "$exp/ctc/graph" "${scales[@]}" \
      ${config[@]+"${config[@]}"} --out "$exp/decode_$set/$1"
    scales=(--scales-from "$exp/decode_$set/$1")
  done
}

decode_open() {  # decode_open seedN/ctc/NAME: any words, by prefixes
  local models set config
  settings ctc/search
  case $1 in */shared) config+=(units.shared=true) ;; esac
  mapfile -t models < <(spellers_of "$1")
  for set in $test_sets; do
    asr-kd decode "${models[@]}" --data "$feats/$set" --graph "$exp/ctc/units" \
      ${config[@]+"${config[@]}"} --out "$exp/open_$set/$1"
  done
}

# What the average of a method's teachers says for each token that a teacher says.
note_agreement() {
  local method n found
  for method in $(frame_methods); do
    found=
    for n in $(seq "$seeds"); do
      found+=$(awk '/"tokens_kept"/ {printf " %.2f", $2}' \
        "$exp/seed$n/ctc/$method/targets/manifest.json")
    done
    notes+=("$method: tokens of the average for one of a teacher's, on the training set:$found.")
  done
}

# Three tables, each of one question: words of the language model; any words; and how much of one
# method's ensemble its student keeps, for which roles have the names that `compare` knows.
ctc_tables() {  # ctc_tables TITLE
  local words=() any=() kept=() last method set n teacher student role
  last=$(frame_methods | tail -n 1)
  for method in $(frame_methods); do
    words+=(--difference "$method-ensemble:$method-teacher")
    if [ "$method" != plain ]; then words+=(--difference "$method-ensemble:plain-ensemble"); fi
    any+=(--difference "$method-shared:$method-teacher")
    any+=(--difference "$method-shared:$method-ensemble")
  done
  for method in $methods; do words+=(--difference "$method-student:student-alone"); done
  if [ "$streaming" != none ]; then
    words+=(--difference "$streaming-streaming:streaming-alone")
  fi
  for set in $test_sets; do
    for n in $(seq "$seeds"); do
      for method in $(frame_methods); do
        for teacher in $(teachers_of "$n" "ctc/$method/"); do
          words+=("$method-teacher@$n:$set=$exp/decode_$set/$teacher")
          any+=("$method-teacher@$n:$set=$exp/open_$set/$teacher")
          if [ "$method" = "$last" ]; then
            kept+=("teacher@$n:$set=$exp/decode_$set/$teacher")
          fi
        done
        words+=("$method-ensemble@$n:$set=$exp/decode_$set/seed$n/ctc/$method/ensemble")
        for role in ensemble shared; do
          any+=("$method-$role@$n:$set=$exp/open_$set/seed$n/ctc/$method/$role")
        done
      done
      for student in $(students_of_a_repetition); do
        words+=("$(role_of "$student")@$n:$set=$exp/decode_$set/seed$n/ctc/$student")
      done
      kept+=("ensemble@$n:$set=$exp/decode_$set/seed$n/ctc/$last/ensemble"
        "hard-student@$n:$set=$exp/decode_$set/seed$n/ctc/student/alone"
        "student@$n:$set=$exp/decode_$set/seed$n/ctc/student/$last")
    done
  done
  ctc_table "$1" "" "$results" "${words[@]}"
  ctc_table "$1; any words, without a language model" _open "${results%.md}_open.md" "${any[@]}"
  ctc_table "$1; what one student keeps of the method '$last'" _kept "${results%.md}_kept.md" \
    "${kept[@]}" --note "hard-student: the same student by CTC alone."
}

ctc_table() {  # ctc_table TITLE SUFFIX FILE SYSTEM_OR_OPTION...
  local title=$1 out=$work/compare$part$2 file=$3 note noted=()
  shift 3
  for note in "$(recipe_note)" "${notes[@]}"; do noted+=(--note "$note"); done
  asr-kd compare "$@" --title "$title" --out "$out" "${noted[@]}"
  cp "$out/RESULTS.md" "$file"
  echo "table written to $file" >&2
}

functions+=(train_ctc seed_model train_teacher align_tokens spellers_of dump_average dump_lists
  train_student decode_words decode_open)

spelling_teachers() {  # spelling_teachers TITLE LM
  local own student students
  need_methods
  own=$(frame_methods | grep -vx plain || true)
  students=$(for student in $(students_of_a_repetition); do of_all "ctc/$student"; done)
  if begin_stage 1 "units, tokens, graph"; then
    prepare_units "$2"
  fi
  if begin_stage 2 "teachers that nothing makes agree"; then
    in_parallel train_teacher $(ctc_teachers plain)
  fi
  if begin_stage 3 "teachers that agree: ${own//$'\n'/, }"; then
    if [[ " $methods " = *" frames "* ]]; then in_parallel align_tokens $(of_all ctc/ali_train); fi
    if [ -n "$own" ]; then in_parallel train_teacher $(ctc_teachers $own); fi
  fi
  if begin_stage 4 "students: teachers on line, averaged frames, lists of sequences, CTC alone"; then
    in_parallel dump_average $(of_methods targets $(frame_methods))
    if [[ " $methods " = *" nbest "* ]]; then in_parallel dump_lists $(of_all ctc/lists); fi
    in_parallel train_student $students
  fi
  if begin_stage 5 "decoding: words of the language model, any words"; then
    in_parallel decode_words $(ctc_teachers $(frame_methods)) \
      $(of_methods ensemble $(frame_methods)) $students
    in_parallel decode_open $(ctc_teachers $(frame_methods)) \
      $(of_methods ensemble $(frame_methods)) $(of_methods shared $(frame_methods))
  fi
  if begin_stage 6 "results"; then
    note_agreement
    ctc_tables "$1"
  fi
}
