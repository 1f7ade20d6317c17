"""What trtexec, onnxruntime_perf_test and AI Hub write, as their sources write it, and what is not believed of it."""

from __future__ import annotations

import json
import time

import pytest

from layerprune.api.errors import BadInput
from layerprune.external import FORMATS, read_foreign
from layerprune.external.reading import MAX_BYTES

LOG = """\
&&&& RUNNING TensorRT.trtexec [TensorRT v100300] [b30] # /usr/src/tensorrt/bin/trtexec --onnx=resnet50.onnx --fp16
[11/25/2026-20:01:02] [I] Selected Device: Orin
[11/25/2026-20:01:09] [I] Timing trace has 1312 queries over 3.00312 s
[11/25/2026-20:01:09] [I] === Performance summary ===
[11/25/2026-20:01:09] [I] Throughput: 436.879 qps
[11/25/2026-20:01:09] [I] Latency: min = 2.25 ms, max = 4.5 ms, mean = 2.31 ms, median = 2.28125 ms, \
percentile(90%) = 2.375 ms, percentile(95%) = 2.5 ms, percentile(99%) = 3.25 ms
[11/25/2026-20:01:09] [I] Enqueue Time: min = 0.5 ms, max = 1.5 ms, mean = 0.6 ms, median = 0.625 ms
[11/25/2026-20:01:09] [I] H2D Latency: min = 0.1 ms, max = 0.2 ms, mean = 0.1 ms, median = 0.125 ms
[11/25/2026-20:01:09] [I] GPU Compute Time: min = 2.0 ms, max = 4.0 ms, mean = 2.1 ms, median = 2.125 ms
[11/25/2026-20:01:09] [I] D2H Latency: min = 0.01 ms, max = 0.02 ms, mean = 0.01 ms, median = 0.0125 ms
"""


def query(latency_ms: float) -> dict[str, float]:
    return {
        "startEnqMs": 1.0,
        "endEnqMs": 1.5,
        "startH2dMs": 1.0,
        "endH2dMs": 1.1,
        "startComputeMs": 1.1,
        "endComputeMs": 3.0,
        "startD2hMs": 3.0,
        "endD2hMs": 3.1,
        "h2dMs": 0.1,
        "computeMs": latency_ms - 0.2,
        "d2hMs": 0.1,
        "latencyMs": latency_ms,
    }


TIMES = json.dumps([query(2.0 + 0.1 * i) for i in range(11)])
RESULTS = "".join(f"resnet50,{2_000_000 + 1000 * i},104857600,50,{i}\n" for i in range(10)) + (
    "\nMin Latency is 0.002 sec\nP50 Latency is 0.002005 sec\nP999 Latency is 0.002009 sec\n"
)
OLD_RESULTS = "net,0.002,1,0,0\nnet,0.004,1,0,1\nnet,0.003,1,0,2\n\nP50 Latency is 0.003sec\n"
PROFILE = json.dumps(
    [
        {"cat": "Session", "name": "model_loading_uri", "dur": 900, "ts": 1, "args": {}},
        *({"cat": "Session", "name": "model_run", "dur": dur, "ts": 2, "args": {}} for dur in (9000, 2000, 2100, 2200)),
        {"cat": "Node", "name": "conv_kernel_time", "dur": 5, "ts": 3, "args": {"op_name": "Conv"}},
    ]
)
HUB = json.dumps(
    {
        "execution_summary": {
            "estimated_inference_time": 3000,
            "first_load_time": 1374293,
            "all_inference_times": [3000, 4000, 5000],
        },
        "execution_detail": [{"name": "a", "compute_unit": "CPU"}, {"name": "b", "compute_unit": "NPU"}],
    }
)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        (LOG, "trtexec", (2_281_250, 2_375_000, 3_250_000, 1312)),
        (TIMES, "trtexec-times", (2_500_000, 2_900_000, 3_000_000, 11)),
        (RESULTS, "onnxruntime", (2_004_500, 2_008_000, 2_009_000, 10)),
        (OLD_RESULTS, "onnxruntime", (3_000_000, 4_000_000, 4_000_000, 3)),
        (PROFILE, "onnxruntime-profile", (2_100_000, 2_200_000, 2_200_000, 3)),
        (HUB, "ai-hub", (4_000_000, 5_000_000, 5_000_000, 3)),
    ],
)
def test_a_file_is_recognised_and_read(text: str, name: str, expected: tuple[int, ...]) -> None:
    found, foreign = read_foreign(text.encode())
    assert found == name
    assert (foreign.p50_ns, foreign.p90_ns, foreign.p99_ns, foreign.n_samples) == expected
    assert read_foreign(text.encode(), name=name)[1] == foreign


def test_what_else_trtexec_says_is_kept() -> None:
    details = read_foreign(LOG.encode())[1].details
    assert (details["gpu_compute_p50_ns"], details["enqueue_p50_ns"]) == (2_125_000, 625_000)
    assert (details["throughput_per_s"], details["version"], details["device"]) == (436.879, "100300", "Orin")
    assert details["command"] == "/usr/src/tensorrt/bin/trtexec --onnx=resnet50.onnx --fp16"


def test_exported_times_keep_computing_and_enqueueing_apart() -> None:
    details = read_foreign(TIMES.encode())[1].details
    assert details == {"gpu_compute_p50_ns": 2_300_000, "enqueue_p50_ns": 500_000}


def test_the_hubs_layers_are_counted_by_where_they_run() -> None:
    assert read_foreign(HUB.encode())[1].details["compute_units"] == "CPU 1, NPU 1"


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("trtexec", "nothing", "it has 0 lines 'Latency: min"),
        ("trtexec", LOG + LOG, "it has 2 lines 'Latency: min"),
        ("trtexec", changed(LOG, "median = 2.28125 ms", "median = 0 ms"), "the median latency is 0 ns"),
        ("trtexec", changed(LOG, "99%) = 3.25 ms", "99%) = 9e99 ms"), "the 99th percentile is 9e+105 ns"),
        ("trtexec-times", "[]", "it is no list of queries"),
        ("trtexec-times", '[{"latencyMs": 1}]', "query 0 lacks one of latencyMs"),
        ("trtexec-times", changed(TIMES, '"latencyMs": 2.0', '"latencyMs": -2.0'), "a time is -2e+06 ns"),
        ("trtexec-times", changed(TIMES, '"latencyMs": 2.0', '"latencyMs": NaN'), "numbers must be finite, not NaN"),
        ("trtexec-times", changed(TIMES, '"latencyMs": 2.0', '"latencyMs": true'), "is 'True', not a number"),
        ("trtexec-times", changed(TIMES, '"latencyMs": 2.0', '"latencyMs": 1e400'), "a time is inf ns"),
        ("trtexec-times", "[" * 100_000, "it is no JSON"),
        ("trtexec-times", TIMES[:-20], "it is no JSON"),
        ("onnxruntime", "resnet50,abc,1,1,0", "line 1 is not 'model,time,memory,usage,run'"),
        ("onnxruntime", "resnet50,--,1,1,0", "line 1 has the time '--'"),
        ("onnxruntime", "", "there is not one inference in it"),
        ("onnxruntime", RESULTS + changed(RESULTS, "resnet50", "vgg"), "it holds the runs of 2 models: resnet50, vgg"),
        ("onnxruntime-profile", '[{"name": "model_run", "dur": 1}]', "it has 1 events 'model_run'"),
        ("onnxruntime-profile", '[{"name": "model_run"}, {"name": "model_run"}]', "dur of a model_run is 'None'"),
        ("onnxruntime-profile", "{}", "it is no list of events"),
        ("ai-hub", "{}", "it has no execution_summary.all_inference_times"),
        ("ai-hub", "[]", "it has no execution_summary.all_inference_times"),
        ("ai-hub", changed(HUB, "[3000, 4000, 5000]", '["3000"]'), "is '3000', not a number"),
        ("ai-hub", changed(HUB, "[3000, 4000, 5000]", "[]"), "there is not one inference in it"),
    ],
)
def test_a_file_that_is_not_as_the_tool_writes_it_is_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_foreign(text.encode(), name=name)
    assert message in caught.value.message
    assert caught.value.code == "timings_refused"


def test_an_unknown_file_names_the_known_formats() -> None:
    with pytest.raises(BadInput, match="of none of the known formats") as caught:
        read_foreign(b"hello")
    assert all(name in caught.value.remedy for name in FORMATS)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(BadInput, match="unknown format 'csv'; known: ai-hub"):
        read_foreign(b"", name="csv")


def test_a_binary_file_is_refused() -> None:
    with pytest.raises(BadInput, match="it is no text"):
        read_foreign(b"\x80\xff" * 40)


def test_a_file_over_the_limit_is_refused_unread() -> None:
    with pytest.raises(BadInput, match=f"{MAX_BYTES} are accepted"):
        read_foreign(b" " * (MAX_BYTES + 1))


@pytest.mark.parametrize(
    "line",
    [
        "[I] Latency: min = ",
        "[" * 50,
        "Latency: min = 1 ms, ",
        "&&&& RUNNING TensorRT.trtexec [TensorRT v1] ",
        "9" * 50,
    ],
)
def test_no_line_takes_long_to_look_at(line: str) -> None:
    text = (line * (2**20 // len(line))) + "\n=== Performance summary ==="
    started = time.process_time()
    with pytest.raises(BadInput):
        read_foreign(text.encode(), name="trtexec")
    assert time.process_time() - started < 2
