"""What the README says must work as it stands there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import onnxruntime
import pytest

from layerprune.api.jobs import JobRequest

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_the_lines_that_use_the_library_alone_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    session = onnxruntime.InferenceSession(tmp_path / "pruned.onnx", providers=["CPUExecutionProvider"])
    assert [node.name for node in session.get_inputs()] == ["input"]


def test_the_request_is_one_that_the_server_takes() -> None:
    (command,) = [block for block in blocks("") if block.startswith("curl")]
    words = shlex.split(command.replace("\\\n", " "))
    request = JobRequest.model_validate(json.loads(words[words.index("-d") + 1]))
    assert request.model.name == "cifar:resnet20"
    assert [target.ratio for target in request.pruning.target_list()] == [0.7]


def test_every_file_that_the_docs_link_to_exists() -> None:
    root = Path(__file__).resolve().parent.parent
    pages = [root / "README.md", root / "CONTRIBUTING.md", *root.glob("docs/*.md"), *root.glob("benchmarks/*.md")]
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    ]  # fmt: skip
    assert len(links) > 10
    assert [link for page, link in links if not (page.parent / link).exists()] == []
