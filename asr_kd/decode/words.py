"""The words of a decode directory, and their errors. Nothing here needs torch."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr_kd.io.atomic import write_text
from asr_kd.io.table import write_table
from asr_kd.score.normalise import Normaliser, write_normaliser
from asr_kd.score.result import score, write_score
from asr_kd.score.text import write_text as write_kaldi_text

_logger = logging.getLogger("asr_kd.decode")


def write_words(
    work: Path,
    out: Path,
    hyp: Mapping[str, Sequence[str]],
    unfinished: Sequence[str],
    utt2spk: Mapping[str, str],
    ref: Mapping[str, Sequence[str]],
    lm_weight: float,
    insertion_penalty: float,
    normaliser: Normaliser,
) -> dict[str, Any]:
    """Writes hypotheses and, where there is a reference, their errors.

    Args:
        work: the artefact's work folder.
        out: where it will stand.
        hyp: words of each utterance.
        unfinished: utterances whose paths are partial.
        utt2spk: speakers.
        ref: reference words; empty where there are none.
        lm_weight: weight of the graph against unscaled acoustic scores; names Kaldi's files.
        insertion_penalty: as of `Scales`.
        normaliser: applied to both sides before they are compared; the files keep the words, and
            the folder the normaliser, for `rescore`.

    Returns:
        What the manifest says about it: `wer`, where there is a reference.
    """
    write_kaldi_text(work / "hyp", hyp)
    write_table(work / "utt2spk", utt2spk)
    write_normaliser(work, normaliser)
    write_text(work / "partial.txt", "".join(f"{utt_id}\n" for utt_id in unfinished))
    if not ref:
        return {}
    write_kaldi_text(work / "ref", ref)
    result = score(ref, hyp, utt2spk, normaliser=normaliser)
    write_score(
        result, work, out, {"partial": len(unfinished)}, f"{lm_weight:.4g}", str(insertion_penalty)
    )
    _logger.info("word error rate %.2f%% [%.2f, %.2f], %d of %d words; %d partial paths",
                 100 * result.corpus.wer, *(100 * end for end in result.interval),
                 result.corpus.errors, result.corpus.words, len(unfinished))  # fmt: skip
    return {"wer": result.to_dict()["wer"]}
