"""The table of commands, and the one place where errors become a sentence and an exit code."""

from __future__ import annotations

import sys

import typer

from ..api.errors import BadInput, LayerPruneError
from . import (
    catalogue,
    compare,
    demo,
    device,
    evaluate,
    finetune,
    import_,
    import_timings,
    jobs,
    layers,
    leaderboard,
    login,
    measure,
    noise,
    plan,
    probe,
    prune,
    score,
    serve,
    submit,
    up,
    watch,
    why,
    worker,
)
from .output import INTERRUPTED, print_error

app = typer.Typer(
    name="layerprune",
    help="Prune vision networks by layers and by filters, and measure what it buys on the real device.",
    epilog="Start with: layerprune demo, or layerprune up and then layerprune submit --help",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

OURS = ("layerprune", "server", "workers", "migrations")
RUN, ASK, HAND, CATALOGUE = "Run", "Ask and watch", "By hand, without a server", "What can be asked for"

app.command("demo", rich_help_panel=RUN)(demo.demo)
app.command("up", rich_help_panel=RUN)(up.up)
app.command("serve", rich_help_panel=RUN)(serve.serve)
app.command("worker", rich_help_panel=RUN)(worker.worker)
app.command("login", rich_help_panel=RUN)(login.login)
app.command("import", rich_help_panel=ASK)(import_.import_)
app.command("import-timings", rich_help_panel=ASK)(import_timings.import_timings)
app.command("submit", rich_help_panel=ASK)(submit.submit)
app.command("jobs", rich_help_panel=ASK)(jobs.jobs)
app.command("watch", rich_help_panel=ASK)(watch.watch)
app.command("cancel", rich_help_panel=ASK)(jobs.cancel)
app.command("leaderboard", rich_help_panel=ASK)(leaderboard.leaderboard)
app.command("compare", rich_help_panel=ASK)(compare.compare)
app.command("layers", rich_help_panel=HAND)(layers.layers)
app.command("score", rich_help_panel=HAND)(score.score)
app.command("plan", rich_help_panel=HAND)(plan.plan)
app.command("prune", rich_help_panel=HAND)(prune.prune)
app.command("finetune", rich_help_panel=HAND)(finetune.finetune)
app.command("evaluate", rich_help_panel=HAND)(evaluate.evaluate)
app.command("measure", rich_help_panel=HAND)(measure.measure)
app.command("why", rich_help_panel=HAND)(why.why)
app.command("noise", rich_help_panel=HAND)(noise.noise)
app.command("probe", rich_help_panel=HAND)(probe.probe)
app.add_typer(device.device, name="device", rich_help_panel=HAND)
app.command("models", rich_help_panel=CATALOGUE)(catalogue.models)
app.command("datasets", rich_help_panel=CATALOGUE)(catalogue.datasets)
app.command("criteria", rich_help_panel=CATALOGUE)(catalogue.criteria)
app.add_typer(catalogue.devices, name="devices", rich_help_panel=CATALOGUE)


def main() -> None:
    """Run the command that the arguments name; 1 is an error, 2 wrong usage or bad input, 130 an interruption."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (LayerPruneError, ModuleNotFoundError, OSError) as error:
        print_error(_explained(error))
        sys.exit(2 if isinstance(error, BadInput) else 1)


def _explained(error: LayerPruneError | ModuleNotFoundError | OSError) -> LayerPruneError:
    """Return our error for what the environment lacks or forbids."""
    if isinstance(error, LayerPruneError):
        return error
    if isinstance(error, OSError):
        return LayerPruneError(str(error), remedy="Check the path, its permissions and the space on the disk.")
    if (error.name or "").partition(".")[0] in OURS:
        raise error
    return LayerPruneError(
        f"this command needs the package {error.name!r}, which is not installed",
        remedy="Install what is missing: pip install 'layerprune[server,build]' for everything,"
        " 'layerprune[onnxruntime]' for a worker that only measures.",
    )
