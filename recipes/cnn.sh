# A deep CNN teaches a shallower one of its family: VGG-19 and VGG-11, ResNet-34 and ResNet-18, all
# over time and log-mel frequency. Sourced by recipes/*/run_cnn.sh after steps.sh; it goes on from
# the alignments and the graph of run.sh.

num_teachers=1
temperature=2
notes=(
  "vgg19, resnet34: hard labels, dropout, perturbed input. vgg11, resnet18: neither dropout nor \
perturbed input; hard: hard labels; soft: stored soft targets of the deep network of their family, \
at temperature $temperature, and hard labels."
)

need_graph() {
  if ! [ -e "$exp/graph/manifest.json" ]; then
    echo "$0: no $exp/graph; first: recipes/$name/run.sh --work $work --stop-stage 3" >&2
    exit 2
  fi
}

dump_deep() {  # dump_deep seedN/cnn/NAME/targets: of the deep network of NAME's family
  local deep
  case $1 in
    */vgg11/*) deep=vgg19 ;;
    */resnet18/*) deep=resnet34 ;;
  esac
  asr-kd dump-targets "$exp/${1%%/*}/cnn/$deep" --data "$feats/train" --out "$exp/$1" \
    --temperature "$temperature"
}

deep_to_shallow() {  # deep_to_shallow TITLE
  local systems="cnn/vgg19 cnn/vgg11/hard cnn/vgg11/soft cnn/resnet34 cnn/resnet18/hard \
cnn/resnet18/soft"
  feats=$work/feats_cnn
  functions+=(dump_deep)
  if begin_stage 1 "log-mel features"; then
    make_feats --config "$configs/cnn/features.yaml"
  fi
  if begin_stage 2 "deep networks; shallow ones on hard labels"; then
    in_parallel train_model $(of_all cnn/vgg19 cnn/resnet34 cnn/vgg11/hard cnn/resnet18/hard)
  fi
  if begin_stage 3 "shallow networks on soft targets"; then
    in_parallel dump_deep $(of_all cnn/vgg11/targets cnn/resnet18/targets)
    in_parallel distil_from_store $(of_all cnn/vgg11/soft cnn/resnet18/soft)
  fi
  if begin_stage 4 "evaluation, decoding"; then
    in_parallel evaluate_model $(of_all $systems)
    in_parallel decode_model $(of_all $systems)
  fi
  if begin_stage 5 "results"; then
    write_frame_results "$1: deep and shallow CNNs" $systems -- \
      --difference vgg11-soft:vgg11-hard --difference vgg11-soft:vgg19 \
      --difference resnet18-soft:resnet18-hard --difference resnet18-soft:resnet34
  fi
}
