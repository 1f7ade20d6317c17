from __future__ import annotations

import subprocess
import sys

from workers.catalogue import describe_machine


def test_the_machine_offers_its_runtimes_and_says_what_it_is() -> None:
    machine = describe_machine(allow_null=False)
    offered = {backend.name: backend for backend in machine.backends}
    assert offered.keys() == {"onnxruntime"}
    assert offered["onnxruntime"].max_threads >= 1
    assert machine.facts["memory_bytes"] > 0


def test_the_null_runtime_is_offered_only_when_it_is_allowed() -> None:
    assert "null" in {backend.name for backend in describe_machine(allow_null=True).backends}


def test_the_agent_imports_no_runtime() -> None:
    program = (
        "import sys, workers.worker, workers.zygote;"
        "print({'torch', 'onnxruntime', 'fastapi', 'sqlalchemy'} & sys.modules.keys())"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "set()"
