"""`asr-kd perturb-speed` and `asr-kd make-feats`."""

from pathlib import Path
from typing import Annotated

import typer

from asr_kd.cli.app import ConfigFile, Jobs, Out, Overrides, app


@app.command("perturb-speed")
def perturb_speed_verb(
    data: Annotated[Path, typer.Argument(help="Kaldi data directory, with sound.")],
    out: Out,
    factors: Annotated[
        str, typer.Option("--factors", help="Speeds to add: 0.9 is slower.")
    ] = "0.9,1.1",
    allow_pipes: Annotated[
        bool, typer.Option("--allow-pipes", help="Accept commands in wav.scp; they are not run.")
    ] = False,
) -> None:
    """Adds every utterance at other speeds, as sp0.9-UTTERANCE of speaker sp0.9-SPEAKER.

    Sound is not copied: make-feats resamples it as OUT/utt2speed says. What is made of the
    directory has features, alignments and targets for each speed; `subset` never parts the speeds
    of an utterance or a speaker.
    """
    from asr_kd.features.perturb_speed import parse_factors, perturb_speed

    perturb_speed(data, parse_factors(factors), out, allow_pipes)


@app.command("make-feats")
def make_feats_verb(
    data: Annotated[Path, typer.Argument(help="Kaldi data directory.")],
    out: Out,
    overrides: Overrides = None,
    config: ConfigFile = None,
    nj: Jobs = 1,
    allow_pipes: Annotated[
        bool, typer.Option("--allow-pipes", help="Run the commands in wav.scp.")
    ] = False,
) -> None:
    """Computes log-mel or MFCC features, or checks those that came ready made (kind=external).

    Writes a data directory with feats.scp, cmvn.scp (statistics by speaker), utt2num_frames and
    feature.json. Without options, a directory's own feature.json says what its features are.
    Audio of another rate than sample_rate is refused unless resample=true. utt2speed, of
    perturb-speed, says how fast the sound of each utterance is played.

    Keys: kind (fbank, mfcc, librosa, external), sample_rate, frame_length_ms, frame_shift_ms,
    num_mel, low_freq, high_freq, num_ceps, dither, window, snip_edges, ...; name and dim of
    external ones.
    """
    from asr_kd.config import load_config
    from asr_kd.features.make_feats import FeatsConfig, make_feats

    given = load_config(FeatsConfig, config, overrides or ()) if config or overrides else None
    make_feats(data, out, given, nj, allow_pipes)
