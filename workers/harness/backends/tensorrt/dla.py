"""Deep Learning Accelerators of Jetson boards: put a network there, and say what share of it really runs there.

What a DLA cannot do falls back to the GPU, silently.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Iterable, List, Sequence

from ...errors import HarnessError
from .compat import Library

_SPAN = re.compile(r"\{ForeignNode\[(.+?)(?:\.\.\.(.+?))?\]\}")


def assign(builder: Any, network: Any, config: Any, core: int, library: Library) -> Dict[str, Any]:
    """Have the builder prefer a DLA core; returns the names of the network's layers in order and of those a DLA can do.

    Raises HarnessError if the device has no such core.
    """
    cores = int(getattr(builder, "num_DLA_cores", 0))
    if not 0 <= core < cores:
        raise HarnessError(
            "bad_input",
            "there is no DLA core %d here; there are %d" % (core, cores),
            value=core,
            remedy="Leave out the setting dla, or measure on a Jetson Orin NX, AGX Orin or Xavier.",
        )
    config.default_device_type = library.api.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(library.api.BuilderFlag.GPU_FALLBACK)
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    return {
        "network_layers": [layer.name for layer in layers],
        "dla_layers": [layer.name for layer in layers if config.can_run_on_DLA(layer)],
    }


def share(built: Dict[str, Any], engine_layers: Iterable[Dict[str, Any]]) -> float:
    """Return the share of the network's layers that the engine runs on a DLA, from 0 to 1.

    `built` is what `assign` returned. An engine's layer on a DLA stands for a run of the network's layers and is
    called `{ForeignNode[first...last]}`; layers in between that a DLA cannot do are not counted.
    """
    names: List[str] = built["network_layers"]
    able = set(built["dla_layers"])
    there = set()
    for layer in engine_layers:
        span = _SPAN.search(layer["name"])
        if span is None or "dla" not in layer["type"].lower():
            continue
        there.update(able.intersection(_between(names, span.group(1), span.group(2) or span.group(1))))
    return len(there) / len(names) if names else 0.0


def _between(names: Sequence[str], first: str, last: str) -> Sequence[str]:
    if first not in names or last not in names:
        return ()
    return names[names.index(first) : names.index(last) + 1]
