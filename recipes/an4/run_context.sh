#!/usr/bin/env bash
# AN4: context-dependent beside monophone states. The same teachers and students are made for both
# label sets, and decoded with the same loop of all words; of tied states the table also has the
# teachers and the student's control. Goes on from run.sh --stop-stage 3 in the same --work.
corpus_note="not needed: run.sh has read it"
. "$(dirname "$0")/../steps.sh"
configs=$root/configs/an4/context
num_teachers=3
notes=(
  "mono, tied: monophone states, and states that decision trees tie by their neighbouring phones."
  "teachers: two BLSTMs and a TDNN. student: a BLSTM from the weights of teacher 1; two of the \
teachers, drawn for each batch, label the very input that it sees. hard-student: its control, with \
hard labels alone."
)
parse_options "$@"
base=$exp
if [ -z "$dry_run" ] && ! [ -e "$base/graph/manifest.json" ]; then
  echo "$0: no $base/graph; first: recipes/an4/run.sh --work $work --stop-stage 3" >&2
  exit 2
fi

with_states() {  # with_states mono|tied: what is trained and decoded from here on
  exp=$base
  if [ "$1" = tied ]; then
    use_tied_states
  else
    ali=$base/ali train_ali=$base/ali_train graph=$base/graph
  fi
  exp=$base/context/$1
}

if begin_stage 1 "trees, GMM of tied states, alignments, graph"; then
  tied_states "$data/lm.arpa" "$base/ali_train"
fi

if begin_stage 2 "teachers"; then
  for states in tied mono; do
    with_states $states
    in_parallel train_model $(teachers_of_all)
  done
fi

if begin_stage 3 "students: teachers on line, hard labels"; then
  for states in tied mono; do
    with_states $states
    in_parallel distil_on_line $(of_all student)
  done
  with_states tied
  in_parallel train_from_teacher $(of_all hard-student)
fi

if begin_stage 4 "decoding"; then
  for states in tied mono; do
    with_states $states
    exp=$base in_parallel decode_model $states
    in_parallel decode_model $(of_all student)
  done
  with_states tied
  in_parallel decode_model $(teachers_of_all) $(of_all ensemble hard-student)
fi

table() {
  local systems=() options=() states role n teacher note pair decoded
  for pair in tied-student:mono-student tied-student:tied-hard-student tied-student:tied-teacher; do
    options+=(--difference "$pair")
  done
  for note in "$(recipe_note)" "${notes[@]}"; do options+=(--note "$note"); done
  for states in mono tied; do
    systems+=("$states-gmm=$base/decode_test/$states")
    decoded=$base/context/$states/decode_test
    for n in $(seq "$seeds"); do
      systems+=("$states-student@$n=$decoded/seed$n/student")
    done
  done
  for n in $(seq "$seeds"); do  # of tied states: $decoded is theirs
    for teacher in $(teachers_of "$n"); do systems+=("tied-teacher@$n=$decoded/$teacher"); done
    for role in ensemble hard-student; do systems+=("tied-$role@$n=$decoded/seed$n/$role"); done
  done
  asr-kd compare "${systems[@]}" --title "AN4, context-dependent beside monophone states" \
    --no-frames --out "$work/compare$part" "${options[@]}"
  cp "$work/compare$part/RESULTS.md" "$results"
  echo "table written to $results" >&2
}

if begin_stage 5 "results"; then
  table
fi
