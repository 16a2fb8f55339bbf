#!/usr/bin/env bash
# Deep and shallow CNNs on the spoken digits: see recipes/cnn.sh.
. "$(dirname "$0")/../steps.sh"
. "$(dirname "$0")/../cnn.sh"
parse_options "$@"
need_graph
deep_to_shallow "FSDD, official test set"
