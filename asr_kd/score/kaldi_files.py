"""The files that Kaldi's scoring leaves in a decode folder, for scripts that read them.

`wer_<lmwt>_<wip>` (the output of `compute-wer`), `scoring_kaldi/best_wer`, and
`scoring_kaldi/wer_details/{per_utt,per_spk,ops}`, as `steps/scoring/score_kaldi_wer.sh` makes them.
"""

from collections.abc import Mapping
from pathlib import Path

from asr_kd.score.alignment import Alignments
from asr_kd.score.text import Text


def write_kaldi_files(
    folder: Path,
    published: Path,
    ref: Text,
    hyp: Text,
    alignments: Alignments,
    utt2spk: Mapping[str, str] | None = None,
    not_scored: int = 0,
    lmwt: str = "1",
    wip: str = "0.0",
) -> None:
    """Writes Kaldi's scoring files.

    Args:
        folder: where they are written: a decode folder, or the work folder of an artefact.
        published: the folder's final path; it stands in `best_wer`.
        ref, hyp: the words that were aligned.
        alignments: of `ref` and `hyp`.
        utt2spk: speakers; without them there is no `per_spk`.
        not_scored: utterances without a hypothesis that were left out; `[PARTIAL]` if there are.
        lmwt, wip: language model weight and word insertion penalty, for the names of files.
    """
    raise NotImplementedError
