#!/usr/bin/env bash
# Soft targets as regularisers on the built-in corpus: see recipes/regulariser.sh.
. "$(dirname "$0")/../steps.sh"
. "$(dirname "$0")/../regulariser.sh"
temperature=2
parse_options "$@"
need_teachers
soft_targets_as_regularisers "Built-in corpus"
