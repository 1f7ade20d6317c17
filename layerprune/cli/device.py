"""The `device` commands: what a device, or TensorRT for it, makes of networks; each in a file of its own."""

from __future__ import annotations

import typer

from . import device_check, device_page, device_parse

device = typer.Typer(help="Look at one device, or at what it would make of a network.", no_args_is_help=True)
device.command("check")(device_check.check)
device.command("upload")(device_check.upload)
device.command("page")(device_page.page)
device.command("parse")(device_parse.parse)
