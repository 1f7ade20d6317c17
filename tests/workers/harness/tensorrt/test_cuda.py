"""CUDA through ctypes: what is called, in which order, and what a failing call becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_cuda
import numpy as np
import pytest

from workers.harness import cuda as cuda_module
from workers.harness.cuda import FROM_DEVICE, SIGNATURES, TO_DEVICE, Cuda, open_cuda
from workers.harness.errors import HarnessError


@pytest.fixture
def cudart() -> Any:
    return fake_cuda.FakeCudart()


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Give the libraries that ctypes finds, by path, to be filled in."""
    found: dict[str, Any] = {}

    def load(path: str) -> Any:
        if path not in found:
            raise OSError(f"{path}: cannot open shared object file")
        return found[path]

    monkeypatch.setattr(cuda_module.ctypes, "CDLL", load)
    return found


def use_everything(cuda: Cuda) -> None:
    """Call every function of the library once."""
    cuda.use_device()
    assert cuda.device_count() == 1
    assert cuda.device_name() == "Imagined GPU"
    assert cuda.capability() == "8.7"
    assert (cuda.runtime_version(), cuda.driver_version()) == ("12.6", "12.6")
    assert cuda.free_bytes() > 0
    stream, events = cuda.stream(), [cuda.event(), cuda.event()]
    device, host = cuda.allocate(4), cuda.allocate_host(4)
    cuda.record(events[0], stream)
    graph = cuda.capture(stream, lambda: cuda.copy(device, host, 4, TO_DEVICE, stream))
    cuda.launch(graph, stream)
    cuda.record(events[1], stream)
    cuda.wait_for_event(events[1])
    cuda.wait_for_stream(stream)
    assert cuda.elapsed_ns(*events) == 250_000
    cuda.destroy_graph(graph)
    for event in events:
        cuda.destroy_event(event)
    cuda.free(device)
    cuda.free_host(host)
    cuda.destroy_stream(stream)


def test_every_function_is_called_as_declared_and_nothing_stays(cudart: Any) -> None:
    use_everything(Cuda(cudart))
    assert set(cudart.calls) >= set(SIGNATURES) - {"cudaGetLastError"}
    assert cudart.alive == {}


@pytest.mark.parametrize("name", sorted(set(SIGNATURES) - {"cudaGetLastError"}))
def test_a_failing_call_is_an_error_that_names_it(cudart: Any, name: str) -> None:
    cudart.faults[name] = 700
    with pytest.raises(HarnessError, match=f"{name} failed with CUDA error 700: some error") as caught:
        use_everything(Cuda(cudart))
    assert caught.value.code == "crashed"
    assert "cudaGetLastError" in cudart.calls


@pytest.mark.parametrize("name", ["cudaMalloc", "cudaMallocHost", "cudaGraphInstantiateWithFlags"])
def test_a_lack_of_memory_is_oom(cudart: Any, name: str) -> None:
    cudart.faults[name] = 2
    with pytest.raises(HarnessError, match="memory ran out") as caught:
        use_everything(Cuda(cudart))
    assert caught.value.code == "oom"


def test_copies_move_bytes_once_somebody_waits(cudart: Any) -> None:
    cuda = Cuda(cudart)
    stream, device = cuda.stream(), cuda.allocate(12)
    there, back = np.arange(3, dtype=np.float32), np.zeros(3, np.float32)
    cuda.copy(device, there.ctypes.data, 12, TO_DEVICE, stream)
    cuda.copy(back.ctypes.data, device, 12, FROM_DEVICE, stream)
    assert back.tolist() == [0, 0, 0]
    cuda.wait_for_stream(stream)
    assert back.tolist() == [0, 1, 2]


def test_what_fails_while_it_is_captured_leaves_the_stream_usable(cudart: Any) -> None:
    cuda = Cuda(cudart)
    stream = cuda.stream()

    def work() -> None:
        cuda.wait_for_stream(stream)  # not allowed while capturing

    with pytest.raises(HarnessError, match="CUDA error 900"):
        cuda.capture(stream, work)
    cuda.wait_for_stream(stream)
    assert list(cudart.alive) == [stream]


def test_an_old_library_is_refused_by_the_function_that_it_lacks(cudart: Any) -> None:
    del cudart.cudaGraphInstantiateWithFlags
    with pytest.raises(HarnessError, match=r"lacks cudaGraphInstantiateWithFlags; it must be 11\.4 or later"):
        Cuda(cudart)


def test_the_library_that_is_loaded_already_is_taken(libraries: dict[str, Any], tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.write_text("7f00-7f01 r-xp 00000000 08:01 42   /opt/cuda/lib64/libcudart.so.11.0.221\n")
    libraries["/opt/cuda/lib64/libcudart.so.11.0.221"] = fake_cuda.FakeCudart(version=11040)
    libraries["libcudart.so.13"] = fake_cuda.FakeCudart(version=13000)
    assert open_cuda(maps=maps).runtime_version() == "11.4"


def test_without_one_the_newest_by_name_is_taken(libraries: dict[str, Any], tmp_path: Path) -> None:
    libraries["libcudart.so.12"] = fake_cuda.FakeCudart(version=12080)
    libraries["libcudart.so.11.0"] = fake_cuda.FakeCudart(version=11080)
    assert open_cuda(maps=tmp_path / "maps").runtime_version() == "12.8"


def test_nvidias_packages_are_searched(libraries: dict[str, Any], tmp_path: Path) -> None:
    packaged = tmp_path / "nvidia" / "cu13" / "lib" / "libcudart.so.13"
    packaged.parent.mkdir(parents=True)
    packaged.touch()
    libraries[str(packaged)] = fake_cuda.FakeCudart(version=13020)
    assert open_cuda(maps=tmp_path / "maps", folders=[str(tmp_path)]).runtime_version() == "13.2"


def test_no_library_is_an_import_error_that_says_what_was_tried(libraries: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ImportError, match=r"not here: libcudart\.so\.13: cannot open .*libcudart\.so: cannot open"):
        open_cuda(maps=tmp_path / "maps", folders=[str(tmp_path)])


def test_a_loaded_library_that_cannot_be_opened_again_is_not_replaced(
    libraries: dict[str, Any], tmp_path: Path
) -> None:
    maps = tmp_path / "maps"
    maps.write_text("7f00-7f01 r-xp 00000000 08:01 42   /gone/libcudart.so.12\n")
    libraries["libcudart.so.13"] = fake_cuda.FakeCudart()
    with pytest.raises(ImportError, match="not here: /gone/libcudart.so.12: cannot open"):
        open_cuda(maps=maps)


def test_no_driver_is_an_error_with_a_remedy(libraries: dict[str, Any], tmp_path: Path) -> None:
    libraries["libcudart.so"] = fake_cuda.FakeCudart()
    libraries["libcudart.so"].faults["cudaGetDeviceCount"] = 100
    with pytest.raises(HarnessError, match="no GPU can be used here: .* no CUDA-capable device") as caught:
        open_cuda(maps=tmp_path / "maps")
    assert (caught.value.code, caught.value.value) == ("bad_input", 100)
    assert "driver" in caught.value.remedy


def test_no_gpu_is_an_error(libraries: dict[str, Any], tmp_path: Path) -> None:
    libraries["libcudart.so"] = fake_cuda.FakeCudart(devices=0)
    with pytest.raises(HarnessError, match="there is no NVIDIA GPU here"):
        open_cuda(maps=tmp_path / "maps")


def test_the_real_library_has_every_function_and_refuses_without_a_driver() -> None:
    try:
        open_cuda()
    except ImportError as error:
        pytest.skip(f"no libcudart is installed: {error}")
    except HarnessError as error:
        refused = error.message
    else:
        use_real_memory()
        return
    assert "no GPU can be used here: cudaGetDeviceCount failed with CUDA error" in refused


def use_real_memory() -> None:
    """On a machine with a GPU: bytes go there and come back, and an event's time is a time."""
    cuda = open_cuda()
    stream, first, second = cuda.stream(), cuda.event(), cuda.event()
    device, there, back = cuda.allocate(1 << 20), np.arange(1 << 18, dtype=np.float32), np.zeros(1 << 18, np.float32)
    cuda.record(first, stream)
    cuda.copy(device, there.ctypes.data, 1 << 20, TO_DEVICE, stream)
    cuda.copy(back.ctypes.data, device, 1 << 20, FROM_DEVICE, stream)
    cuda.record(second, stream)
    cuda.wait_for_event(second)
    assert np.array_equal(there, back)
    assert 0 < cuda.elapsed_ns(first, second) < 10**9
    cuda.free(device)
