"""The `submit` command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Data, Json, Url, connect
from .output import console, print_json

if TYPE_CHECKING:
    from ..api.jobs import JobView
    from ..api.uploads import UploadKind

Text = str | None
LocalFile = Path | None
Numbers = list[float] | None
Counts = list[int] | None


def local_file(text: str) -> Any:
    """Describe an option that names a file of this machine, which must be there."""
    return typer.Option(help=text, exists=True, dir_okay=False)


def submit(
    model: Annotated[Text, typer.Option(help="Network to prune, such as cifar:resnet20.")] = None,
    weights: Annotated[LocalFile, local_file("Your weights for --model, as safetensors; uploaded.")] = None,
    onnx: Annotated[LocalFile, local_file("Your network as a single ONNX file, instead of --model; uploaded.")] = None,
    preprocess: Annotated[
        LocalFile, local_file("JSON that says how an image becomes the network's input: size, mean, std, ...")
    ] = None,
    expected_accuracy: Annotated[
        float | None, typer.Option(help="Stop before scoring if the base is more than 0.005 away from this.")
    ] = None,
    dataset: Annotated[Text, typer.Option(help="Data set to train and evaluate on, such as digits.")] = None,
    dataset_file: Annotated[
        LocalFile, local_file("Your images: a zip of one folder per class, or parquet; uploaded.")
    ] = None,
    dataset_path: Annotated[
        Text, typer.Option(help="Your images on the workers' disks, below a folder given as --data-root there.")
    ] = None,
    rival: Annotated[
        list[str] | None, typer.Option(help="Network that is small by design, to compare with; may be repeated.")
    ] = None,
    criteria: Annotated[Text, typer.Option(help="Criteria, separated by commas.")] = None,
    method: Annotated[
        Text, typer.Option("--method", "--methods", help="layer, filter, hybrid or several, separated by commas.")
    ] = None,
    ratio: Annotated[Numbers, typer.Option(help="Latency target as a ratio of the base's; may be repeated.")] = None,
    latency_ms: Annotated[Numbers, typer.Option(help="Latency target in milliseconds; may be repeated.")] = None,
    amount: Annotated[
        Numbers, typer.Option(help="Instead of targets: fraction of the base's MACs to remove; may be repeated.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Fine-tuning epochs per variant.")] = None,
    schedule: Annotated[
        Text, typer.Option(help="one_shot, iterative or iterative:STEPS: how pruning and training alternate.")
    ] = None,
    devices: Annotated[Text, typer.Option(help="Devices to measure on, separated by commas.")] = None,
    backend: Annotated[
        Text, typer.Option("--backend", "--backends", help="Runtimes to measure on, separated by commas.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option(help="Setting of a runtime, such as torch.channels_last=true; may be repeated.")
    ] = None,
    precision: Annotated[Text, typer.Option(help="Precisions to measure in, separated by commas.")] = None,
    threads: Annotated[Counts, typer.Option(help="Threads to measure with; may be repeated.")] = None,
    batch_size: Annotated[Counts, typer.Option(help="Batch to measure with; may be repeated.")] = None,
    budget: Annotated[Text, typer.Option(help="quick, standard or thorough measuring.")] = None,
    max_trainings: Annotated[int | None, typer.Option(help="Train no more variants than this.")] = None,
    max_build_hours: Annotated[float | None, typer.Option(help="Train no longer than this in all.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything that is random.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A whole request as JSON; '-' reads standard input.")
    ] = None,
    follow: Annotated[bool, typer.Option("--watch", help="Follow the job until it ends.")] = False,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Submit a pruning job; what is left out takes the server's default.

    Examples:

    `layerprune submit --model cifar:resnet20 --dataset digits --criteria weight_l1,imprinting --ratio 0.7 --epochs 1`

    `layerprune submit --model timm:resnet18 --weights mine.safetensors --dataset-file birds.zip --method layer,hybrid`

    `layerprune submit --file request.json --watch`
    """
    from ..api.client import digest_of
    from ..api.errors import BadInput
    from ..api.jobs import JobRequest
    from .requests import compact, names, parsed, read_json, read_request, read_schedule, read_settings

    files: list[tuple[Path, UploadKind]] = []

    def digest(path: Path | None, kind: UploadKind) -> str | None:
        if path is None:
            return None
        files.append((path, kind))
        return digest_of(path)

    values = compact(
        {
            "model": {
                "name": model,
                "weights": digest(weights, "weights"),
                "onnx": digest(onnx, "onnx"),
                "preprocess": read_json(preprocess, "the preprocessing") if preprocess is not None else None,
                "expected_accuracy": expected_accuracy,
            },
            "dataset": {"name": dataset, "upload": digest(dataset_file, "data"), "path": dataset_path},
            "rivals": [{"name": name} for name in rival] if rival else None,
            "pruning": {
                "methods": names(method),
                "criteria": names(criteria),
                "targets": {"latency_ratios": ratio or None, "latency_ms": latency_ms or None},
                "amounts": amount or None,
                "max_trainings": max_trainings,
                "max_build_hours": max_build_hours,
            },
            "training": {"epochs": epochs, "schedule": read_schedule(schedule)},
            "measure": {
                "devices": names(devices),
                "backends": names(backend),
                "settings": read_settings(setting),
                "precisions": names(precision),
                "threads": threads or None,
                "batch_sizes": batch_size or None,
                "budget": budget,
            },
            "seed": seed,
        }
    )
    if file is not None and values:
        raise BadInput(
            "--file holds the whole request and cannot be mixed with options for its parts",
            field="file",
            value=str(file),
            remedy="Leave out either --file or " + ", ".join(sorted(values)) + ".",
        )
    if file is None and not ((model or onnx) and (dataset or dataset_file or dataset_path)):
        raise typer.BadParameter("give a network (--model or --onnx) and images (--dataset, ...), or --file")
    request = read_request(file) if file is not None else parsed(JobRequest, values)
    with connect(url, data) as client:
        for path, kind in files:
            client.upload(path, kind=kind)
        job = client.submit(request)
        # Whoever wants JSON reads it from standard output, alone.
        out = console(stderr=as_json)
        out.print(f"Job {job.id}: {cost(job)}.", soft_wrap=True)
        if follow:
            from .watch import follow_job

            job = follow_job(client, job.id, out)
        else:
            out.print(f"Follow it with: layerprune watch {job.id}", soft_wrap=True)
    if as_json:
        print_json(job)
    if follow and job.state != "done":
        raise typer.Exit(1)


def cost(job: JobView) -> str:
    """Say what the job will cost."""
    estimate = job.estimate
    return f"at most {estimate.trainings} trainings, about {estimate.minutes:.1f} minutes ({estimate.basis})"
