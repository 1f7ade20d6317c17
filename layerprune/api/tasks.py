"""What a task asks for and what its result says, one payload and one result per kind; what measures is in `timings`.

An *artifact* in a payload or result is a SHA-256 digest; the agent downloads the inputs into the task's folder before
the task starts, and uploads the files that it names afterwards, so that the code of a task never talks to the server.
While a result is still on the worker, its artifact fields hold the path of the file relative to the task's folder.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from .dataset import DatasetSpec
from .network import ModelSpec, Preprocess, RivalSpec
from .precision import Prepared, TensorRTTarget
from .pruning import Family, Method, PruningSpec
from .timings import Condition as Condition
from .timings import MeasuredGroup as MeasuredGroup
from .timings import MeasureInput as MeasureInput
from .timings import MeasurePayload as MeasurePayload
from .timings import MeasureResult as MeasureResult
from .timings import SessionAccuracy as SessionAccuracy
from .timings import SessionSamples as SessionSamples
from .timings import SweepPayload as SweepPayload
from .timings import SweepResult as SweepResult
from .training import Accuracies, EpochRecord, TrainingSpec
from .wire import Artifact as Artifact
from .wire import Count, Proportion, Wire

# --- score ---------------------------------------------------------------------------------------------------------


class ScorePayload(Wire):
    """Make the base, score its layers and filters, and write the candidate plans (build role)."""

    model: ModelSpec
    dataset: DatasetSpec
    pruning: PruningSpec
    training: TrainingSpec
    forms: list[str] = Field(default=[], description="forms that are measured besides float32; see precision.form_of")
    parse_for: list[TensorRTTarget] = Field(default=[], description="every network is parsed for these before training")
    opset: Annotated[int, Field(ge=1)] = Field(default=17, description="what networks are exported for")
    seed: int
    resume: Artifact | None = Field(default=None, description="a checkpoint that an earlier attempt left")


class Candidate(Wire):
    """A plan that could be built, and what it would leave."""

    plan: dict[str, Any]
    plan_hash: str
    architecture: str = Field(description="hash of the graph without weights: same architecture, same latency")
    method: Method
    family: Family
    criterion: str
    alignment: int = 1
    scope: Literal["uniform", "global"] | None = None
    amount: float = Field(ge=0, le=1, description="fraction of the base's MACs that is removed")
    params: Count
    macs: Count
    label: str


class Edit(Wire):
    """One layer gone, or one group of coupled channels cut to a width, and nothing else: what budgets are made of.

    A search adds single edits up (docs/pruning.md): `costs` holds by criterion what each takes away.
    """

    id: str = Field(description="unique in the job; layers: 'layer:NAME', channels: 'channels:GROUP:KEPT'")
    kind: Literal["layer", "channels"]
    target: str = Field(description="name of the layer, or of the module that leads the group")
    inside: str | None = Field(
        default=None, description="channels: the removable layer whose removal takes the group along"
    )
    width: Count = Field(default=0, description="channels: the group's full width")
    kept: Count = Field(default=0, description="channels that stay; 0 for a layer")
    costs: dict[str, float] = Field(
        description="by criterion; only those for which layers and channels can be added up"
    )
    architecture: str
    macs: Count
    params: Count


class Architecture(Wire):
    """One distinct untrained architecture, exported for the sweep."""

    architecture: str
    onnx: Artifact
    forms: dict[str, Artifact] = Field(default={}, description="form -> ONNX, besides the float32 file")
    params: Count
    macs: Count


class LayerInfo(Wire):
    """A removable layer of the base, with its score by each criterion."""

    name: str
    kind: str
    params: Count
    macs: Count
    scores: dict[str, float]


class Reach(Wire):
    """The furthest a family can go on this network, and what stops it."""

    family: Family
    max_amount: float = Field(ge=0, le=1)
    stopped_by: str


class TrainedNetwork(Wire):
    """A trained network as files, with the accuracies its builder saw."""

    onnx: Artifact
    weights: Artifact
    plan: Artifact
    preprocess: Preprocess
    preprocess_file: Artifact
    reference_outputs: Artifact = Field(description="float32 .npy, logits of the evaluation pack's first images")
    forms: dict[str, Prepared] = {}
    architecture: str
    params: Count
    macs: Count
    opset: int
    exporter: str
    export_max_relative_difference: float = Field(ge=0)
    validation: Accuracies
    test: Accuracies
    curve: list[EpochRecord]
    recipe: dict[str, Any] = Field(
        default={}, description="how it was trained, as far as that was decided here: see layerprune.training.recipe"
    )
    seconds: dict[str, float] = Field(default={}, description="training, exporting, evaluating")


class ScoreResult(Wire):
    base: TrainedNetwork
    evaluation_pack: Artifact
    evaluation_images: Annotated[int, Field(ge=1)]
    dataset_fingerprint: str
    layers: list[LayerInfo]
    candidates: list[Candidate]
    architectures: list[Architecture]
    base_untrained_onnx: Artifact = Field(description="the base, exported the way the architectures were")
    reach: list[Reach]
    edits: list[Edit] = Field(default=[], description="single edits, for budgets that are solved from measured costs")
    filter_scores: Artifact | None = Field(default=None, description="safetensors, 'CRITERION/MODULE' -> (C_out,)")
    epoch_seconds: float | None = Field(default=None, description="what one epoch of the base's training took")
    notes: list[str] = []
    seconds: dict[str, float] = {}


# --- search --------------------------------------------------------------------------------------------------------


class Solved(Wire):
    """The plan that a search found for one target under one condition, and what it promises."""

    place: str = Field(description="the device and condition, as the payload calls them")
    target: float = Field(gt=0, lt=1, description="ratio to the base's latency")
    family: Family
    criterion: str
    plan_hash: str
    architecture: str
    predicted: float = Field(gt=0, description="latency ratio, from single edits added up and corrected so far")


class Tried(Wire):
    """A solution of an earlier round, as it was measured."""

    solved: Solved
    measured: float = Field(gt=0, description="latency ratio")


class SearchPlace(Wire):
    """One device under one condition: its targets, and what it said about the architectures so far."""

    place: str
    targets: list[float]
    ratios: dict[str, float] = Field(description="architecture -> swept latency ratio")
    tried: list[Tried] = []


class SearchPayload(Wire):
    """Solve each target exactly from measured costs, and write the plans (build role)."""

    model: ModelSpec
    dataset: DatasetSpec
    pruning: PruningSpec
    base_weights: Artifact
    filter_scores: Artifact
    edits: list[Edit]
    layer_scores: dict[str, dict[str, float]] = Field(description="criterion -> layer -> score")
    places: list[SearchPlace]
    round: Annotated[int, Field(ge=1, le=3)]
    forms: list[str] = []
    parse_for: list[TensorRTTarget] = []
    opset: Annotated[int, Field(ge=1)] = Field(default=17, description="what networks are exported for")
    seed: int


class SearchResult(Wire):
    """New candidates and their architectures; `solved` names the plan of every target, new or seen before."""

    candidates: list[Candidate]
    architectures: list[Architecture]
    solved: list[Solved]
    notes: list[str] = []
    seconds: dict[str, float] = {}


# --- trial ---------------------------------------------------------------------------------------------------------


class TrialPlan(Wire):
    plan: dict[str, Any]
    plan_hash: str


class TrialPayload(Wire):
    """Judge plans before their training is paid for, by validation accuracy after a little of it (build role).

    With `epochs` 0 only the batch-norm statistics are re-estimated.
    """

    model: ModelSpec
    dataset: DatasetSpec
    training: TrainingSpec
    base_weights: Artifact
    plans: list[TrialPlan]
    epochs: Annotated[int, Field(ge=0)]
    recipe: dict[str, Any] = Field(default={}, description="the base's")
    seed: int


class TrialResult(Wire):
    accuracies: dict[str, Proportion] = Field(description="plan hash -> validation accuracy")
    seconds: dict[str, float] = {}


# --- build ---------------------------------------------------------------------------------------------------------


class BuildPayload(Wire):
    """Apply one plan to the base, or make a rival; fine-tune, evaluate and export (build role).

    A rival takes the base's place as teacher's pupil: same data, same recipe; it has no plan.
    """

    model: ModelSpec
    dataset: DatasetSpec
    pruning: PruningSpec = PruningSpec()
    training: TrainingSpec
    base_weights: Artifact
    rival: RivalSpec | None = None
    plan: dict[str, Any] = {}
    plan_hash: str = Field(description="of the plan; of the rival's specification")
    training_seed: int
    forms: list[str] = []
    parse_for: list[TensorRTTarget] = Field(
        default=[], description="rivals, which no scoring has seen, are parsed first"
    )
    opset: Annotated[int, Field(ge=1)] = Field(default=17, description="what networks are exported for")
    seed: int
    recipe: dict[str, Any] = Field(
        default={}, description="the base's: what was decided once holds for the whole job, so that seeds repeat"
    )
    resume: Artifact | None = Field(default=None, description="a checkpoint that an earlier attempt left")


class BuildResult(Wire):
    network: TrainedNetwork
    notes: list[str] = []
