# What the recipes of LibriSpeech and of mini LibriSpeech share. Sourced behind steps.sh by their
# run.sh, which say what parts there are: ${train[@]}, ${dev[@]} and $test_sets. Lexicon and language models are those of OpenSLR 11: $lm
# decodes, $large_lm rescores the n-best lists.

lm=3-gram.pruned.3e-7
num_teachers=3
temperature=2
nbest=100
mirror=
notes=(
  "teachers: a TDNN, a BLSTM and a feed-forward network, further ones TDNNs; student and hard-student: a TDNN; student-int8: the student exported with 8-bit weights."
  "Trained on every utterance at 0.9, 1 and 1.1 times its speed. Speakers: a reader in one chapter."
)

own_options="  --mirror URL      fetch the corpus from this copy of OpenSLR's resources/, with its own
                    checksums"
mirror_option() {
  case $1 in
    --mirror) mirror=$2 ;;
    *) return 1 ;;
  esac
}
own_option() { mirror_option "$@"; }

estimates=
make_estimates() {  # of all stages, and first where they come from
  if [ -z "$dry_run" ]; then return; fi
  estimates=$(python "$root/tools/estimate_librispeech.py" "$name" --train "${train[@]}" \
    --dev ${dev[@]+"${dev[@]}"} --test $test_sets --models "$lm" "$large_lm" --nj "$nj" \
    --seeds "$seeds" --teachers "$num_teachers" --tune-share "${tune_share:-1}" \
    --configs "$configs" --set "$overrides" --rates "$root/recipes/librispeech/rates.json" \
    ${corpus:+--corpus "$corpus"})
  echo "$name$(estimate 0)"
}

estimate() { sed -n "s/^$1\t\(.\)/: \1/p" <<< "$estimates"; }  # estimate STAGE

# Without --corpus what is needed is fetched into WORK/corpus; what is there already is not.
prepare_librispeech() {
  local names options=() config
  names=("${train[@]}" ${dev[@]+"${dev[@]}"} $test_sets lexicon "$lm" "$large_lm")
  names=$(IFS=,; echo "${names[*]}")
  if [ -n "$corpus" ]; then
    need_corpus
  else
    if [ -n "$mirror" ]; then options=(--mirror "$mirror" --sums-of-mirror); fi
    corpus=$work/corpus
    asr-kd download "$name" --parts "$names" --out "$corpus" --nj 3 ${options[@]+"${options[@]}"}
  fi
  settings corpus
  asr-kd prepare librispeech --corpus "$corpus" --out "$data" "${config[@]}" \
    "train=[$(IFS=,; echo "${train[*]}")]"
}

# Where the large model is: the corpus may be the folder LibriSpeech/ itself, and its lm/ flat.
find_large_lm() {
  local top=${corpus:-$work/corpus} folder
  large_lm_file=$top/lm/$large_lm/$large_lm.arpa.gz
  for folder in "$top/lm" "$top/../lm/$large_lm" "$top/../lm"; do
    if [ -e "$large_lm_file" ]; then break; fi
    if [ -e "$folder/$large_lm.arpa.gz" ]; then large_lm_file=$folder/$large_lm.arpa.gz; fi
  done
}

export_int8() {  # export_int8 seedN/NAME-int8: of seedN/NAME
  asr-kd export "$exp/${1%-int8}" --int8 --out "$exp/$1"
}

export_for_use() {  # export_for_use seedN/NAME: with graph and scales, all that transcribe needs
  asr-kd export "$exp/$1" --graph "$graph" --scales-from "$exp/decode_${test_sets%% *}/$1" \
    --out "$exp/export/$1"
}

# Stages 1 to 9. Everything from stage 4 on has context-dependent states.
distil_with_tied_states() {  # distil_with_tied_states TITLE
  use_tied_states
  make_estimates
  if begin_stage 1 "download, data directories"; then
    prepare_librispeech
  fi
  local roles="ensemble hard-student student student-int8" systems
  systems="$gmm $(teachers_of_all) $(of_all $roles)"
  lm_file=$data/$lm.arpa
  functions+=(export_int8 export_for_use)
  if begin_stage 2 "speed perturbation, features, language"; then
    train_sound=$work/train_all_speeds
    asr-kd perturb-speed "$data/train" --out "$train_sound"
    settings features
    make_feats "${config[@]}"
    asr-kd prepare-lang "$data/dict" --out "$lang"
  fi
  if begin_stage 3 "monophone GMM from a flat start"; then
    flat_start
  fi
  if begin_stage 4 "context-dependent states: trees, GMM, realignment, graph"; then
    tied_states "$lm_file" "$exp/mono"
  fi
  if begin_stage 5 "teachers"; then
    in_parallel train_model $(teachers_of_all)
  fi
  if begin_stage 6 "students: soft targets, hard labels; 8-bit export"; then
    in_parallel dump_targets $(of_all targets)
    in_parallel train_soft_or_hard $(of_all student hard-student)
    in_parallel export_int8 $(of_all student-int8)
  fi
  if begin_stage 7 "decoding with $lm"; then
    if [ -n "${tune_share:-}" ]; then
      tune_data=$exp/tune
      asr-kd subset "$feats/dev" --share "$tune_share" --out "$tune_data"
    fi
    in_parallel decode_model $systems
    in_parallel export_for_use $(of_all student)
  fi
  if begin_stage 8 "n-best lists rescored with $large_lm"; then
    find_large_lm
    in_parallel rescore_model $systems
  fi
  if begin_stage 9 "results"; then
    write_results "$1" $roles
  fi
}
