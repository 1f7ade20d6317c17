from __future__ import annotations

from pydantic import Field

from layerprune.api.tasks import Artifact, SweepPayload
from layerprune.api.wire import Wire
from workers.uploads import replace_artifacts


class Inner(Wire):
    file: Artifact = Field(description="a field's own description does not hide it")
    name: str


class Outer(Wire):
    top: Artifact
    inner: Inner
    several: list[Inner]
    named: dict[str, Artifact]
    maybe: Artifact | None = None
    nothing: Artifact | None = None
    words: list[str] = []


def test_every_artifact_at_any_depth_is_replaced_and_nothing_else() -> None:
    result = Outer(
        top="a.onnx",
        inner=Inner(file="b.bin", name="b.bin"),
        several=[Inner(file="c.bin", name="c")],
        named={"d.bin": "d.bin"},
        maybe="e.bin",
        words=["f.bin"],
    )
    assert replace_artifacts(result, str.upper) == Outer(
        top="A.ONNX",
        inner=Inner(file="B.BIN", name="b.bin"),
        several=[Inner(file="C.BIN", name="c")],
        named={"d.bin": "D.BIN"},
        maybe="E.BIN",
        words=["f.bin"],
    )


def test_it_knows_the_types_of_the_wire() -> None:
    payload = SweepPayload.model_validate(
        {"condition": {}, "base": "base", "architectures": {"h": "net"}, "input_shape": [3, 16, 16], "seed": 0}
    )
    replaced = replace_artifacts(payload, str.upper)
    assert (replaced.base, replaced.architectures) == ("BASE", {"h": "NET"})
