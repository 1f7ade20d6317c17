"""Why a variant is not as fast as its MACs promise: layer profiles of base and variant side by side."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .wire import Wire

Layout = Literal["blocked", "plain", ""]


class LayerSide(Wire):
    """One layer in one of the two networks; times are of a profiled run, which is slower than a timed one."""

    ns: float | None = Field(description="null where the runtime folded the layer away")
    macs: int
    layout: Layout = Field(description="of a convolution: blocked is the runtime's fast one")
    in_channels: int
    out_channels: int


class LayerPair(Wire):
    """A layer of the base and what became of it; null where one of the two has no such layer."""

    name: str
    op: str
    kernel: list[int]
    base: LayerSide | None
    variant: LayerSide | None
    excess_ns: float = Field(description="what the variant's layer takes beyond base time x its MACs / the base's")
    lost_layout: bool = Field(description="blocked in the base, plain in the variant")
    regain: dict[str, list[int]] = Field(description="channel counts nearby that would be blocked again")


class Reorders(Wire):
    """Nodes that only convert between layouts."""

    count: int
    ns: float


class Why(Wire):
    """Where the time goes that the MACs promised to save; all times in nanoseconds of one inference."""

    runtime: str
    threads: int
    batch_size: int
    base_ns: float
    variant_ns: float
    ratio: float = Field(description="of the profiled latencies")
    macs_ratio: float
    missing_ns: float = Field(description="variant_ns - base_ns x macs_ratio; negative if it is faster than promised")
    lost_layout_ns: float = Field(description="excess of the layers that lost their layout")
    reorders_ns: float = Field(description="time of the variant's reorders beyond the base's")
    less_efficient_ns: float = Field(description="excess of the layers that kept their layout")
    base_reorders: Reorders
    variant_reorders: Reorders
    base_blocked: int = Field(description="convolutions in blocked layout")
    variant_blocked: int
    layers: list[LayerPair] = Field(max_length=2000)
    sentences: list[str]


class Explanation(Wire):
    """Why a variant disappointed on one device under one set of conditions."""

    device: str
    comparable_key: str
    why: Why
    measured_at: int = Field(description="microseconds UTC")
