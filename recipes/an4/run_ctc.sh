#!/usr/bin/env bash
# AN4 spelled in units by CTC: see recipes/ctc.sh. It goes on from the features of run.sh.
. "$(dirname "$0")/../steps.sh"
. "$(dirname "$0")/../ctc.sh"
parse_options "$@"
spelling_teachers "AN4, CTC: teachers that can be averaged" "$data/lm.arpa"
