"""Which family wins on which device, runtime and settings: one row per place, one column per target."""

from __future__ import annotations

from collections.abc import Sequence

from layerprune.api.comparison import Comparison, DeviceComparison, Matrix, MatrixCell, MatrixRow, TargetComparison

from . import sentences


def matrix(model: str, dataset: str, comparisons: Sequence[Comparison]) -> Matrix:
    """Lay out the comparisons of jobs of one model and data set; every place keeps its own base."""
    rows = [_row(comparison.job, device) for comparison in comparisons for device in comparison.devices]
    rows.sort(key=lambda row: (row.device, row.runtime, row.precision, row.batch_size, row.threads))
    return Matrix(
        model=model,
        dataset=dataset,
        targets=list(dict.fromkeys(cell.target for row in rows for cell in row.cells)),
        rows=rows,
        summary=sentences.of_matrix(rows),
    )


def _row(job: str, place: DeviceComparison) -> MatrixRow:
    return MatrixRow(
        job=job,
        device=place.device,
        runtime=place.runtime,
        precision=place.precision,
        batch_size=place.batch_size,
        threads=place.threads,
        comparable_key=place.comparable_key,
        base_p50_ns=place.base_p50_ns,
        cells=[_cell(target) for target in place.targets],
    )


def _cell(target: TargetComparison) -> MatrixCell:
    return MatrixCell(
        target=target.target,
        winners=target.winners,
        ratios={one.family: one.ratio.value for one in target.contenders},
        accuracies={one.family: one.accuracy.value for one in target.contenders},
    )
