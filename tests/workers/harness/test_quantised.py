"""A result is labelled with the precision that the file really has."""

from __future__ import annotations

import pytest

from workers.harness.errors import HarnessError
from workers.harness.loading import check_quantised


@pytest.mark.parametrize(
    ("onnx", "precision", "calibrates"),
    [
        (b"..Conv..", "fp32", False),
        (b"..Conv..", "int8", True),
        (b"..QuantizeLinear..DequantizeLinear..", "int8", False),
    ],
)
def test_a_file_of_the_precision_is_taken(onnx: bytes, precision: str, calibrates: bool) -> None:
    check_quantised(onnx, precision, calibrates=calibrates)


@pytest.mark.parametrize(
    ("onnx", "precision", "message"),
    [
        (b"..QuantizeLinear..", "fp32", "is quantised"),
        (b"..Conv..", "int8", "no QuantizeLinear"),
        (b"..DequantizeLinear..", "int8", "no QuantizeLinear"),
    ],
)
def test_a_file_of_another_precision_is_refused(onnx: bytes, precision: str, message: str) -> None:
    with pytest.raises(HarnessError, match=message) as caught:
        check_quantised(onnx, precision, calibrates=False)
    assert caught.value.code == "bad_input"
    assert caught.value.value == precision
