"""Try networks one by one before they are timed together: an error then names the network."""

from __future__ import annotations

from typing import Any, Callable, Dict

import numpy as np

from .backends import load_backend
from .errors import HarnessError
from .host import Host
from .loading import Loader
from .memory import check_fits
from .process import check
from .spec import Spec

Say = Callable[..., None]


def try_out(spec: Spec, say: Say) -> Dict[str, Any]:
    """Load each network of the spec, run it once on what it would be timed on, and keep the answer.

    Returns by network the file in the spec's folder that holds its float32 outputs (batch, values). Raises HarnessError
    whose message begins with the network's name: if it cannot fit, is refused by the runtime, or answers NaN or
    infinity.
    """
    host, backend = Host(spec.root), load_backend(spec.backend)
    check(spec, host, backend)
    loader, found = Loader.of(spec, backend), {}
    for number, (name, path) in enumerate(spec.networks.items()):
        say("trying %s" % name, expect_s=loader.load_s)
        try:
            check_fits(host, [path])
            outputs = _answer(loader, path.read_bytes())
        except HarnessError as error:
            message = "%s: %s" % (name, error.message)
            raise HarnessError(error.code, message, value=error.value, remedy=error.remedy) from error
        found[name] = "%d.npy" % number
        np.save(str(spec.folder / found[name]), outputs)
    return {"outputs": found}


def _answer(loader: Loader, network: bytes) -> np.ndarray:
    session = loader.load(network, loader.spec.shape)
    try:
        outputs = np.asarray(session.infer(loader.noise(loader.spec.shape)), dtype=np.float32).copy()
    finally:
        session.close()
    broken = int((~np.isfinite(outputs)).sum())
    if broken:
        raise HarnessError(
            "bad_input",
            "%d of its %d outputs are NaN or infinite, for an image of noise" % (broken, outputs.size),
            value=broken,
            remedy="Look for NaN or infinity in its weights, and for values that overflow in this precision.",
        )
    return outputs
