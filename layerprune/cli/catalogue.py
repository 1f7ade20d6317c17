"""The commands that list what can be asked for: models, datasets, criteria, devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from .options import Data, Json, Url, connect
from .output import console, moment, print_json, table

if TYPE_CHECKING:
    from ..api.wire import Wire

    W = TypeVar("W", bound=Wire)

NEEDS_BUILDER = "start a worker that builds: layerprune worker --roles build"

devices = typer.Typer()


class DeviceKind(str, Enum):
    """What sort of hardware a device is."""

    cpu = "cpu"
    gpu = "gpu"
    jetson = "jetson"


def models(url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """List the networks that the workers can build by name.

    Example: `layerprune models --json`
    """
    with connect(url, data) as client:
        found = client.list_models()
    _show(
        found,
        ["model", "input", "what it is"],
        lambda model: [model.name, f"{model.input_size}x{model.input_size}", model.description],
        as_json=as_json,
        empty=f"No model is on offer; {NEEDS_BUILDER}",
    )


def datasets(url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """List the data sets that the workers have.

    Example: `layerprune datasets`
    """
    with connect(url, data) as client:
        found = client.list_datasets()
    _show(
        found,
        ["data set", "classes", "train", "test", "what it is"],
        lambda each: [each.name, str(each.classes), str(each.train_images), str(each.test_images), each.description],
        as_json=as_json,
        empty=f"No data set is on offer; {NEEDS_BUILDER}",
    )


def criteria(url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """List the criteria by which layers and filters can be chosen.

    Example: `layerprune criteria`
    """
    with connect(url, data) as client:
        found = client.list_criteria()
    _show(
        found,
        ["criterion", "uses", "filters too", "what it says", "source"],
        lambda each: [
            each.name,
            "nothing (control)" if each.is_control else "data" if each.needs_data else "weights",
            "yes" if each.has_filter_form else "no",
            each.description,
            each.source,
        ],
        as_json=as_json,
        empty=f"No criterion is on offer; {NEEDS_BUILDER}",
    )


@devices.callback(invoke_without_command=True)
def list_devices(context: typer.Context, url: Url = None, data: Data = None, as_json: Json = False) -> None:
    """List the devices that measure, or add one.

    Examples: `layerprune devices`, `layerprune devices add jetson-kitchen --kind jetson`
    """
    if context.invoked_subcommand:
        return
    with connect(url, data) as client:
        found = client.list_devices()
    _show(
        found,
        ["device", "kind", "state", "runtimes", "last seen", "what it is"],
        lambda each: [
            each.name,
            each.kind,
            ("busy" if each.busy else "ready") if each.online else "offline",
            ", ".join(each.backends),
            moment(each.last_seen_at) if each.last_seen_at else "never",
            each.description or str(each.facts.get("device_model", "")),
        ],
        as_json=as_json,
        empty="There is no device; start a worker here, or announce another machine: layerprune devices add NAME",
    )


@devices.command("add")
def add_device(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    kind: Annotated[DeviceKind, typer.Option(help="What sort of hardware it is.")] = DeviceKind.cpu,
    description: Annotated[str, typer.Option(help="A word for people.")] = "",
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Announce a device and print the one-time token with which its worker registers.

    Example: `layerprune devices add jetson-kitchen --kind jetson`
    """
    from ..api.workers import DeviceSpec
    from .requests import parsed

    device = parsed(DeviceSpec, {"name": name, "kind": kind.value, "description": description})
    with connect(url, data) as client:
        created = client.create_device(device)
        address = client.url
    if as_json:
        print_json(created)
        return
    settings = f"LAYERPRUNE_URL={address} LAYERPRUNE_TOKEN={created.registration_token}"
    out = console()
    out.print(f"{name} is announced. On that machine, within {created.expires_in_s // 60} minutes, run:")
    out.print(f"  {settings} layerprune worker --roles measure --device {name}", soft_wrap=True)
    out.print("The token is shown this once.")


def _show(found: Sequence[W], columns: list[str], row: Callable[[W], list[str]], *, as_json: bool, empty: str) -> None:
    if as_json:
        print_json(found)
    elif not found:
        console().print(empty)
    else:
        rows = table(*columns, right={"input", "classes", "train", "test"})
        for each in found:
            rows.add_row(*row(each))
        console().print(rows)
