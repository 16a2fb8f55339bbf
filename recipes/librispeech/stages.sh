# What the recipes of LibriSpeech and of mini LibriSpeech share. Sourced behind steps.sh by their
# run.sh, which say what parts there are; the words come from OpenSLR 11, the small 3-gram decodes.

lm=3-gram.pruned.3e-7
mirror=
notes=(
  "teachers: a TDNN, a BLSTM and a feed-forward network, further ones TDNNs; student and hard-student: a TDNN."
  "Speakers: a reader in one chapter."
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

estimate() {  # estimate STAGE
  if [ "$1" != 1 ] || [ -n "$corpus" ]; then return; fi
  python - "$name" "${parts[@]}" lexicon "$lm" <<'END'
import sys
from asr_kd.data.catalogue import CATALOGUE

name, *parts = sys.argv[1:]
size = sum(file.size for part in parts for file in CATALOGUE[name][part].files)
print(f": {size / 1e9:.1f} GB to fetch, up to as much again while archives are unpacked")
END
}

# Without --corpus the ${parts[@]} are fetched into WORK/corpus; what is there already is not.
prepare_librispeech() {  # prepare_librispeech [OPTION...]
  local names options=()
  names=$(IFS=,; echo "${parts[*]},lexicon,$lm")
  if [ -n "$corpus" ]; then
    need_corpus
  else
    if [ -n "$mirror" ]; then options=(--mirror "$mirror" --sums-of-mirror); fi
    corpus=$work/corpus
    asr-kd download "$name" --parts "$names" --out "$corpus" --nj 3 ${options[@]+"${options[@]}"}
  fi
  asr-kd prepare librispeech --corpus "$corpus" --out "$data" --config "$configs/corpus.yaml" "$@"
}
