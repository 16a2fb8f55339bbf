#!/usr/bin/env bash
# Deep and shallow CNNs on the built-in corpus: see recipes/cnn.sh.
. "$(dirname "$0")/../steps.sh"
. "$(dirname "$0")/../cnn.sh"
parse_options "$@"
need_graph
deep_to_shallow "Built-in corpus"
