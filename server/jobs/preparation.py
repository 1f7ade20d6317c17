"""What a worker that builds must know of the devices: which precisions need files, and what TensorRT runs where."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.jobs import JobRequest
from layerprune.api.precision import TENSORRT, TensorRTTarget, form_of
from layerprune.api.tasks import Condition
from server.models import Device, Job, JobDevice, Scoring

from .conditions import conditions, offers


def forms(request: JobRequest) -> list[str]:
    """The forms in which a job measures its networks, besides float32."""
    measure = request.measure
    found = {form_of(backend, precision) for backend in measure.backend_list() for precision in measure.precisions}
    return sorted(form for form in found if form is not None)


def architecture_files(scoring: Scoring, condition: Condition) -> dict[str, str]:
    """The ONNX files (architecture -> digest) with which untrained architectures are timed under a condition."""
    form = form_of(condition.backend, condition.precision)
    return {a["architecture"]: a["onnx"] if form is None else a["forms"][form] for a in scoring.architectures}


def tensorrt_targets(session: Session, job: Job) -> list[TensorRTTarget]:
    """The devices of a job that measure with TensorRT, with what their workers said about them."""
    request = JobRequest.model_validate(job.request)
    rows = select(Device).join(JobDevice, JobDevice.device_id == Device.id).where(JobDevice.job_id == job.id)
    devices = session.scalars(rows.order_by(Device.name)).all()
    offered = offers(session, devices)
    found = []
    for device in devices:
        here = offered.get(device.id)
        precisions: dict[str, list[str]] = {}
        for condition in conditions(request, here):
            if condition.backend in TENSORRT:
                precisions.setdefault(condition.backend, []).append(condition.precision)
        capability = device.facts.get("compute_capability")
        for backend, measured in precisions.items():
            found.append(
                TensorRTTarget(
                    device=device.name,
                    backend=backend,
                    version=next((one.version for one in here or () if one.name == backend), None),
                    capability=None if capability is None else str(capability),
                    precisions=sorted(set(measured)),
                )
            )
    return found
