#!/usr/bin/env bash
# The built-in corpus spelled in units by CTC: see recipes/ctc.sh. It goes on from the features and
# the language model of run.sh.
. "$(dirname "$0")/../steps.sh"
. "$(dirname "$0")/../ctc.sh"
num_teachers=3
parse_options "$@"
spelling_teachers "Built-in corpus, CTC: teachers that can be averaged" "$exp/lm"
