#!/usr/bin/env bash
# The recipe of mini LibriSpeech, download to report, where the real one is not to be had: on the
# miniature that tools/make_librispeech_miniature.py makes, served on 127.0.0.1, with smaller sizes
# than configs/mini_librispeech. A few minutes; options go to run.sh.
#
#   recipes/mini_librispeech/miniature.sh [--work DIR] [--nj 2]

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
command -v asr-kd > /dev/null || PATH=$root/.venv/bin:$PATH
folder=$root/work/miniature
mkdir -p "$folder"

python "$root/tools/make_librispeech_miniature.py" "$folder" --train 200 8 --dev 8 2 --test 8 2
python -u -m http.server --bind 127.0.0.1 --directory "$folder" 0 > "$folder/server.log" 2>&1 &
server=$!
trap 'kill $server' EXIT
until grep -q 'port [0-9]' "$folder/server.log"; do
  if ! kill -0 "$server"; then cat "$folder/server.log" >&2; exit 1; fi
  sleep 0.1
done
port=$(sed -n 's/.* port \([0-9]*\).*/\1/p' "$folder/server.log")

unset http_proxy HTTP_PROXY all_proxy ALL_PROXY
"$here/run.sh" --work "$folder/recipe" --teachers 2 --set "@$root/configs/mini_librispeech/miniature.txt" \
  --mirror "http://127.0.0.1:$port/resources" "$@"
