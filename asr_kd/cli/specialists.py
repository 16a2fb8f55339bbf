"""`asr-kd cluster-labels` and `asr-kd combine-specialists`."""

from pathlib import Path
from typing import Annotated

import typer

from asr_kd.cli.app import Device, Jobs, Out, Trust, app


@app.command("cluster-labels")
def cluster_labels_verb(
    generalist: Annotated[
        str,
        typer.Argument(
            metavar="GENERALIST", help="Model, MODEL=FEATDIR, or ark:POSTERIORS.scp=labels.json."
        ),
    ],
    data: Annotated[Path, typer.Option("--data", help="Feature directory to listen to.")],
    clusters: Annotated[int, typer.Option("--clusters", min=2, help="How many.")],
    out: Out,
    ali: Annotated[
        Path | None, typer.Option("--ali", help="Alignment of the data, to count errors by.")
    ] = None,
    temperature: Annotated[
        float,
        typer.Option("--temperature", help="Softens the posteriors, so that doubts are seen."),
    ] = 3.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the first centroids.")] = 0,
    device: Device = "auto",
    nj: Jobs = 1,
    trust: Trust = False,
) -> None:
    """Clusters the labels that a model confuses: on-line K-means on its posteriors' covariance.

    OUT/CLUSTERS.md shows which phones and states fell together; OUT/clusters.json is what
    `train --cluster OUT:NUMBER` takes (write one by hand for clusters of your own).
    """
    from asr_kd.distill.cluster_labels import Source, cluster_labels

    source = Source(generalist, data, ali, temperature, device, trust)
    cluster_labels(source, clusters, out, seed, nj)


@app.command("combine-specialists")
def combine_specialists_verb(
    generalist: Annotated[Path, typer.Argument(metavar="GENERALIST", help="The --init of all.")],
    specialists: Annotated[
        list[str],
        typer.Argument(
            metavar="SPECIALIST[=CLUSTERS:NUMBER]...",
            help="Output of train --cluster; with its cluster where it has no dustbin.",
        ),
    ],
    out: Out,
    num_active: Annotated[
        int,
        typer.Option(
            "--num-active",
            min=1,
            help="A specialist is heard where one of the generalist's so many most probable labels "
            "is special to it.",
        ),
    ] = 1,
) -> None:
    """Makes one model of a generalist and its specialists.

    Its posteriors are the distribution nearest to all that are heard on a frame. It is decoded,
    evaluated, averaged and distilled as any other model; only trained it cannot be.
    """
    from asr_kd.distill.combine import combine_specialists

    combine_specialists(generalist, specialists, out, num_active)
