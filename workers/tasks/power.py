"""Wait until the device is in the power mode that a task asks for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from layerprune.api.errors import BadInput
from layerprune.api.jobs import Progress
from workers.harness.errors import HarnessError
from workers.harness.files import Files
from workers.harness.power import SETTING, Run, wait_reason

LOOK_EVERY_S = 5.0
"""Only a person with root's rights can change the mode, some after a reboot; the worker never does."""


def await_power_mode(
    settings: Mapping[str, Any],
    *,
    report: Callable[[Progress], None],
    checkpoint: Callable[[], None],
    files: Files | None = None,
    run: Run | None = None,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Return once the mode that `settings` ask for is there, and say meanwhile what is waited for.

    Raises BadInput for a mode that this device does not have.
    """
    told: str | None = None
    try:
        while (reason := wait_reason(settings, files or Files(), run)) is not None:
            if reason != told:
                report(Progress(phase="waiting", message=reason))
                told = reason
            checkpoint()
            pause(LOOK_EVERY_S)
    except HarnessError as error:
        raise BadInput(error.message, field=SETTING, value=error.value, remedy=error.remedy) from error
