import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from asr_kd.config import config_dict
from asr_kd.data.directory import DataDir
from asr_kd.ensemble.average import average
from asr_kd.ensemble.scorer import Scorer
from asr_kd.ensemble.teachers import NetworkTeacher
from asr_kd.errors import InputError
from asr_kd.features.reader import FeatureReader
from asr_kd.features.spec import read_spec
from asr_kd.labels.gmm import DiagGmms, GmmModel
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.multiply_adds import multiply_adds

Make = Callable[..., Path]
UTT = "spk1-utt1"


def test_one_network(make_features: Make, make_network: Make, labels: LabelSet) -> None:
    data, model = make_features("data", 4), make_network("model", "tdnn", 4)
    scorer = Scorer.open([str(model)], data, prior_scale=0.7)
    checkpoint = Checkpoint.load(model)
    expected = NetworkTeacher(model, data).log_posts([UTT])[0].numpy()
    log_post = scorer.log_post(UTT)
    assert log_post.dtype == np.float32
    np.testing.assert_allclose(log_post, expected, atol=1e-5)
    likes = expected - 0.7 * checkpoint.log_prior
    np.testing.assert_allclose(scorer.loglikes(UTT), likes, atol=1e-5)
    assert scorer.log_prior is not None
    np.testing.assert_allclose(scorer.log_prior, checkpoint.log_prior, atol=1e-6)
    assert scorer.label_set == labels
    files = ("model.safetensors", "model.json")
    num_bytes = sum(len((model / name).read_bytes()) for name in files)
    model_costs = (checkpoint.model.num_params, multiply_adds(checkpoint.model), num_bytes)
    assert scorer.costs() == model_costs


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_an_ensemble_scores_like_a_single_model(
    mean: str, make_features: Make, make_network: Make
) -> None:
    data, own = make_features("data", 4), make_features("own", 5)
    one, two = make_network("one", "dnn", 4), make_network("two", "blstm", 5, seed=1)
    scorer = Scorer.open([str(one), f"{two}={own}"], data, 1.0, mean, [3.0, 1.0])  # type: ignore[arg-type]
    singles = [NetworkTeacher(m, d).log_posts([UTT])[0] for m, d in ((one, data), (two, own))]
    expected = average(singles, [3, 1], mean)  # type: ignore[arg-type]
    np.testing.assert_allclose(scorer.log_post(UTT), expected, atol=1e-5)
    priors = [np.exp(Checkpoint.load(m).log_prior) for m in (one, two)]
    assert scorer.log_prior is not None
    np.testing.assert_allclose(
        np.exp(scorer.log_prior), 0.75 * priors[0] + 0.25 * priors[1], rtol=1e-5
    )
    alone = [Scorer.open([spec], data).costs() for spec in (str(one), f"{two}={own}")]
    assert scorer.costs() == tuple(a + b for a, b in zip(*alone, strict=True))


def test_arguments_travel_to_worker_processes(make_features: Make, make_network: Make) -> None:
    data, model = make_features("data", 4), make_network("model", "dnn", 4)
    opener = partial(Scorer.open, [str(model)], data, prior_scale=0.5)
    there = pickle.loads(pickle.dumps(opener))()
    np.testing.assert_array_equal(there.loglikes(UTT), opener().loglikes(UTT))


def write_gmm(folder: Path, data: Path, labels: LabelSet) -> GmmModel:
    rng = np.random.default_rng(0)
    gmms = DiagGmms(
        np.arange(len(labels)),
        np.ones(len(labels), np.float32),
        rng.standard_normal((len(labels), 8)).astype(np.float32),
        rng.uniform(0.5, 2.0, (len(labels), 8)).astype(np.float32),
    )
    model = GmmModel(gmms, labels, "global", 1, config_dict(read_spec(data)))
    folder.mkdir()
    model.save(folder)
    return model


def test_gmm(tmp_path: Path, make_features: Make, make_network: Make, labels: LabelSet) -> None:
    data = make_features("data", 4)
    gmm = write_gmm(tmp_path / "gmm", data, labels)
    scorer = Scorer.open([str(tmp_path / "gmm")], data)
    feats = FeatureReader(DataDir.read(data), "global")[UTT]
    np.testing.assert_array_equal(scorer.loglikes(UTT), gmm.log_likes(feats))
    assert scorer.log_prior is None
    num_bytes = sum(len(path.read_bytes()) for path in (tmp_path / "gmm").iterdir())
    # 8 dimensions and their squares, a Gaussian for each label.
    assert scorer.costs() == (gmm.num_params, 16 * len(labels), num_bytes)
    assert scorer.label_set == labels
    with pytest.raises(InputError, match="has no posteriors"):
        scorer.log_post(UTT)
    with pytest.raises(InputError, match="score it alone"):
        Scorer.open([str(make_network("net", "dnn", 4)), str(tmp_path / "gmm")], data)
    with pytest.raises(InputError, match=r"dim 4, .* has 5"):
        Scorer.open([f"{tmp_path / 'gmm'}={make_features('other', 5)}"], data)


def test_different_numbers_of_frames(
    make_features: Make, make_network: Make, utt_frames: dict[str, int]
) -> None:
    data = make_features("data", 4)
    longer = make_features("longer", 5, {utt: n + 1 for utt, n in utt_frames.items()})
    one, two = make_network("one", "dnn", 4), make_network("two", "dnn", 5)
    scorer = Scorer.open([str(one), f"{two}={longer}"], data)
    counts = f"one has {utt_frames[UTT]}, .*two has {utt_frames[UTT] + 1}"
    with pytest.raises(InputError, match=f"{UTT}: numbers of frames differ: .*{counts}"):
        scorer.log_post(UTT)


def test_archives_have_no_priors(
    make_archive: Callable[..., str], make_posts: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="without the priors"):
        Scorer.open([make_archive("posts", {"a": make_posts(3, 0)})], tmp_path)


def test_bad_weights(make_features: Make, make_network: Make) -> None:
    data = make_features("data", 4)
    with pytest.raises(InputError, match="2 weights for 1 teachers"):
        Scorer.open([str(make_network("one", "dnn", 4))], data, weights=[1.0, 2.0])
