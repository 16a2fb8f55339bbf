#!/usr/bin/env bash
# AN4 (CMU census): teachers, their ensemble, and students of a teacher's size; monophone states,
# a loop of all words as the language model. --corpus takes the audio (.sph) or the feature (.mfc)
# distribution; --splits DIR puts lists {train,dev,test}.speakers in place of the official split.
corpus_note="the folder with etc/ and wav/ or feat/"
. "$(dirname "$0")/../steps.sh"
notes=(
  "student: starts from the weights of teacher 1; two of the teachers, drawn for each batch, label \
the very input that it sees; hard labels weigh as much as they do."
  "hard-student: the control of student: the same start, input and epochs, hard labels alone."
  "stored-student: plain distillation from a random start, on stored posteriors of the training set."
)

splits=
own_options="  --splits DIR      lists of speakers in place of the official split"
own_option() {
  case $1 in
    --splits) splits=$(cd "$2" && pwd) ;;
    *) return 1 ;;
  esac
}
parse_options "$@"
need_corpus

if begin_stage 1 "data directories"; then
  asr-kd prepare an4 --corpus "$corpus" --out "$data" ${splits:+"splits=$splits"}
fi

if begin_stage 2 "features, language"; then
  sound=()
  if [ -e "$data/train/wav.scp" ]; then sound=(--config "$configs/features.yaml"); fi
  make_feats ${sound[@]+"${sound[@]}"}
  asr-kd prepare-lang "$data/dict" --out "$lang"
fi

if begin_stage 3 "alignments by a monophone GMM, graph"; then
  align_all "$data/lm.arpa"
fi

if begin_stage 4 "teachers"; then
  in_parallel train_model $(teachers_of_all)
fi

if begin_stage 5 "students: hard labels, stored targets, teachers on line"; then
  in_parallel dump_targets $(of_all targets)
  in_parallel distil_on_line $(of_all student)
  in_parallel train_from_teacher $(of_all hard-student)
  in_parallel distil_from_store $(of_all stored-student)
fi

if begin_stage 6 "decoding"; then
  in_parallel decode_model mono $(teachers_of_all) \
    $(of_all ensemble hard-student stored-student student)
fi

if begin_stage 7 "results"; then
  write_results "AN4, monophone states" ensemble hard-student stored-student student
fi
