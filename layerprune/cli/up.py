"""The `up` command: everything on this machine."""

from __future__ import annotations

import time

from .options import DATA_FOLDER, HOST, PORT, AllowDownloads, DataFolder, DataRoots, Host, Port
from .output import console

CHECK_S = 0.5


def up(
    data: DataFolder = DATA_FOLDER,
    host: Host = HOST,
    port: Port = PORT,
    data_root: DataRoots = None,
    allow_downloads: AllowDownloads = False,
) -> None:
    """Start a server and a worker with this machine's CPU, and keep them running until Ctrl-C.

    Example: `layerprune up --data ./layerprune-data --port 8000`
    """
    from .stack import DEVICE, Stack

    out = console()

    def say(text: str) -> None:
        out.print(text, soft_wrap=True)

    say("Starting the server and a worker ...")
    try:
        with Stack(data, host, port, say=say, data_roots=data_root or (), allow_downloads=allow_downloads) as stack:
            with stack.client() as client:
                link = client.create_login_link()
            say(f"LayerPrune answers at {stack.url}, its device is {DEVICE}.")
            say(f"  In a browser (the link works once, for 10 minutes; another: layerprune login):  {link}")
            say("  A first job:  layerprune submit --model cifar:resnet20 --dataset digits --ratio 0.7 --watch")
            say(f"  The admin token is in {data / 'admin-token'}, the logs are in {data / 'logs'}.")
            say("Ctrl-C stops everything.")
            try:
                while True:
                    time.sleep(CHECK_S)
                    stack.check()
            except KeyboardInterrupt:
                say("Stopping: first the worker, then the server (once more kills both) ...")
    except KeyboardInterrupt:
        say("Stopped before it had started.")
        return
    say("Stopped.")
