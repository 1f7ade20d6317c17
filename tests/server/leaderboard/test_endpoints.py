"""The leaderboard, a variant and the comparison over HTTP, filled by a scripted worker."""

from __future__ import annotations

from typing import Any

import pytest


def board(client: Any, **params: Any) -> dict[str, Any]:
    response = client.get("/v1/leaderboard", params=params)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


@pytest.fixture
def job(scripted: Any, submit: Any) -> dict[str, Any]:
    """A finished job with two targets, whose layer plans at 0.7 are better than its filter plans."""
    answer: dict[str, Any] = submit(
        pruning={
            "methods": ["layer", "filter"],
            "criteria": ["weight_l1", "imprinting"],
            "targets": {"latency_ratios": [0.7, 0.5]},
        }
    )
    for one in scripted.candidates:
        if one["plan"]["step"] == 2:
            scripted.correct[one["plan_hash"]] = 530 if one["family"] == "layer" else 480
        else:
            scripted.correct[one["plan_hash"]] = 450
    scripted.run()
    return answer


def test_rows_come_the_fastest_first_and_are_complete(job: Any, client: Any) -> None:
    found = board(client)
    rows = found["rows"]
    latencies = [row["p50_ns"] for row in rows]
    assert latencies == sorted(latencies)
    # Two plans per criterion and family, and the base once.
    assert found["total"] == len(rows) == 9
    assert len(found["comparable_keys"]) == 1
    base = rows[-1]
    assert (base["family"], base["label"], base["ratio"]) == ("base", "cifar:resnet20", None)
    row = rows[0]
    assert row["ratio"]["ci_low"] < row["ratio"]["value"] < row["ratio"]["ci_high"]
    assert row["accuracy"]["correct"] == 450
    assert row["base_accuracy"]["correct"] == 520
    assert row["runtime"] == "onnxruntime 1.23"


def test_pages_continue_where_the_last_one_ended(job: Any, client: Any) -> None:
    whole = [row["measurement"] for row in board(client)["rows"]]
    paged, cursor = [], None
    while True:
        page = board(client, limit=4, **({"cursor": cursor} if cursor else {}))
        paged += [row["measurement"] for row in page["rows"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert paged == whole


def test_filters_restrict_the_rows(job: Any, client: Any, subtests: pytest.Subtests) -> None:
    everything = board(client)["rows"]
    cases: list[tuple[dict[str, Any], Any]] = [
        ({"method": "layer"}, lambda row: row["family"] == "layer"),
        ({"method": "filter"}, lambda row: row["family"].startswith("filter")),
        ({"family": "filter_aligned"}, lambda row: row["family"] == "filter_aligned"),
        ({"criterion": "imprinting"}, lambda row: "imprinting" in row["criteria"]),
        ({"criterion": "imprint"}, lambda row: False),
        ({"max_latency_ms": 0.6}, lambda row: row["p50_ns"] <= 600_000),
        ({"min_accuracy": 0.95}, lambda row: row["accuracy"]["value"] >= 0.95),
        ({"front": True}, lambda row: row["on_front"]),
        ({"device": "local-cpu"}, lambda row: True),
        ({"device": "other"}, lambda row: False),
        ({"model": "cifar:resnet20", "dataset": "digits", "verdict": "stable"}, lambda row: True),
        ({"job": job["id"]}, lambda row: True),
    ]
    for params, expected in cases:
        with subtests.test(str(params)):
            found = board(client, **params)
            assert [r["measurement"] for r in found["rows"]] == [r["measurement"] for r in everything if expected(r)]
            assert found["total"] == len(found["rows"])


def test_the_front_holds_what_nothing_beats(job: Any, client: Any) -> None:
    rows = board(client)["rows"]
    for row in rows:
        beaten = any(
            other["p50_ns"] <= row["p50_ns"]
            and other["accuracy"]["value"] >= row["accuracy"]["value"]
            and (other["p50_ns"], -other["accuracy"]["value"]) != (row["p50_ns"], -row["accuracy"]["value"])
            for other in rows
        )
        assert row["on_front"] == (not beaten)


def test_flagged_rows_are_shown_but_not_on_the_front(scripted: Any, submit: Any, client: Any) -> None:
    submit()
    scripted.flags = ["steal"]
    scripted.run()
    rows = board(client)["rows"]
    assert len(rows) == 5
    assert not any(row["on_front"] for row in rows)
    assert board(client, front=True)["rows"] == []


def test_a_spoilt_cursor_is_refused(job: Any, client: Any, subtests: pytest.Subtests) -> None:
    cursor = board(client, limit=2)["next_cursor"]
    for params in ({"cursor": "nonsense"}, {"cursor": cursor[:-4]}, {"cursor": cursor, "method": "layer"}):
        with subtests.test(str(params)):
            response = client.get("/v1/leaderboard", params=params)
            assert response.status_code == 422
            assert response.json()["error"]["field"] == "cursor"


def test_a_bad_filter_is_refused(client: Any, subtests: pytest.Subtests) -> None:
    for name, value in (("method", "neurons"), ("min_accuracy", "2"), ("max_latency_ms", "nan"), ("limit", "0")):
        with subtests.test(name):
            response = client.get("/v1/leaderboard", params={name: value})
            assert response.status_code == 422
            assert response.json()["error"]["field"] == name


def test_a_variant_shows_its_plan_files_and_measurements(job: Any, client: Any) -> None:
    row = board(client, method="layer")["rows"][0]
    view = client.get(f"/v1/variants/{row['variant']}").json()
    assert view["plan"] == {"family": "layer", "step": 3}
    assert view["validation"]["final"] == {"correct": 150, "n": 157}
    assert [measured["measurement"] for measured in view["measurements"]] == [row["measurement"]]
    for digest in (*row["downloads"].values(), view["weights"]):
        assert client.head(f"/v1/artifacts/sha256/{digest}").status_code == 200


def test_an_unknown_variant_is_not_found(client: Any) -> None:
    assert client.get("/v1/variants/none").status_code == 404


def test_the_comparison_says_who_won_where(job: Any, client: Any) -> None:
    found = client.get(f"/v1/jobs/{job['id']}/comparison").json()
    assert found["complete"]
    (device,) = found["devices"]
    assert (device["device"], device["base_accuracy"]["correct"]) == ("local-cpu", 520)
    first, second = device["targets"]
    assert [duel["verdict"] for duel in first["duels"]] == ["first", "first", "tied"]
    assert [duel["verdict"] for duel in second["duels"]] == ["tied"] * 3
    assert (first["winners"], second["winners"]) == (["layer"], ["layer", "filter", "filter_aligned"])
    duel = first["duels"][0]
    assert duel["accuracy_difference"] == pytest.approx(50 / 540)
    assert duel["equally_fast"]
    assert {contender["tries"] for contender in first["contenders"]} == {1}
    assert not duel["at_equal_latency"]["interpolated"]
    assert device["summary"].startswith(
        "On local-cpu, at equal measured latency, layer pruning is more accurate than 2 other families at 0.7 of the "
        "base's latency; layer pruning, unaligned filter pruning and aligned filter pruning are tied at 0.5 of"
    )
    assert {reach["family"]: reach["stopped_by"] for reach in device["reach"]} == {
        "layer": "depth",
        "filter": "the channel floor",
        "filter_aligned": "alignment",
    }
    assert device["reach"][0]["lowest_ratio"] == pytest.approx(0.5, rel=0.01)
    assert device["reference_accuracy"] == pytest.approx(450 / 540)
    # All validate alike, so the fastest stands for all: 450 right, as few as any.
    assert device["reach"][0]["hypervolume"]["value"] == 0
    assert [(front["first"], front["second"]) for front in device["fronts"]] == [
        ("layer", "filter"),
        ("layer", "filter_aligned"),
        ("filter", "filter_aligned"),
    ]
    assert {(form["criterion"], form["second"]) for form in device["forms"]} == {
        ("weight_l1", "filter"),
        ("weight_l1", "filter_aligned"),
    }


def test_the_matrix_has_a_row_per_place_and_a_cell_per_target(job: Any, client: Any) -> None:
    found = client.get(f"/v1/jobs/{job['id']}/matrix").json()
    (row,) = found["rows"]
    assert (row["device"], row["runtime"], row["threads"], row["job"]) == (
        "local-cpu",
        "onnxruntime 1.23",
        1,
        job["id"],
    )
    assert [cell["winners"] for cell in row["cells"]] == [["layer"], ["layer", "filter", "filter_aligned"]]
    assert row["cells"][0]["ratios"]["layer"] == pytest.approx(0.7, rel=0.01)
    assert found["summary"] == (
        "Of 2 comparisons on 1 combination of device, runtime and settings, layer pruning wins 1, 1 is a tie."
    )


def test_jobs_of_one_model_and_data_set_share_a_matrix(job: Any, client: Any) -> None:
    found = client.get("/v1/matrix", params={"model": "cifar:resnet20", "dataset": "digits"}).json()
    assert [row["job"] for row in found["rows"]] == [job["id"]]
    assert client.get("/v1/matrix", params={"model": "cifar:resnet20", "dataset": "other"}).json()["rows"] == []
    assert client.get("/v1/matrix", params={"model": "cifar:resnet20"}).status_code == 422
    assert client.get("/v1/jobs/none/matrix").status_code == 404


def test_the_comparison_is_the_same_whenever_it_is_asked_for(job: Any, client: Any) -> None:
    path = f"/v1/jobs/{job['id']}/comparison"
    assert client.get(path).json() == client.get(path).json()


def test_a_job_in_work_has_an_incomplete_comparison(scripted: Any, submit: Any, client: Any) -> None:
    job = submit()
    scripted.run(until="build")
    found = client.get(f"/v1/jobs/{job['id']}/comparison").json()
    assert (found["complete"], found["devices"]) == (False, [])


def test_amounts_are_compared_without_claiming_equal_latency(scripted: Any, submit: Any, client: Any) -> None:
    job = submit(pruning={"criteria": ["weight_l1", "imprinting"], "amounts": [0.4]})
    scripted.ratios.update({one["architecture"]: 0.8 for one in scripted.candidates if one["method"] == "filter"})
    scripted.run()
    (device,) = client.get(f"/v1/jobs/{job['id']}/comparison").json()["devices"]
    (target,) = device["targets"]
    assert (target["target"], target["target_ratio"]) == ("40% of the MACs removed", None)
    against_layers = [duel for duel in target["duels"] if duel["first"]["family"] == "layer"]
    assert {duel["verdict"] for duel in against_layers} == {"first_faster"}
    assert "no difference in accuracy is shown" in against_layers[0]["sentence"]
    # Layers at 0.7 go with the base at 1 for a third of the images.
    equal = against_layers[0]["at_equal_latency"]
    assert (equal["interpolated"], equal["verdict"]) == (False, "tied")
    assert {reach["stopped_by"] for reach in device["reach"]} == {"only the amounts that the job names were tried"}


def test_a_family_that_the_limit_of_trainings_cut_is_not_called_slow(scripted: Any, submit: Any, client: Any) -> None:
    pruning = {
        "methods": ["layer", "filter"],
        "criteria": ["weight_l1", "imprinting"],
        "targets": {"latency_ratios": [0.7, 0.5]},
        "max_trainings": 3,
    }
    job = submit(pruning=pruning)
    scripted.answers = {
        "trial": lambda payload: {
            "accuracies": {plan["plan_hash"]: {"correct": 100, "n": 157} for plan in payload["plans"]}
        }
    }
    scripted.run()
    found = client.get(f"/v1/jobs/{job['id']}/comparison").json()
    missing = [why for target in found["devices"][0]["targets"] for why in target["missing"].values()]
    assert missing
    assert set(missing) == {"reachable (0.50 swept), but no such plan was trained: see the job's notes"}
    assert any("limit of trainings" in note for note in found["notes"])


def test_criteria_are_compared_with_the_control(scripted: Any, submit: Any, client: Any) -> None:
    job = submit(pruning={"criteria": ["weight_l1", "imprinting", "random"], "amounts": [0.4], "methods": ["layer"]})
    layers = [one for one in scripted.candidates if one["plan"] == {"family": "layer", "step": 2}]
    scripted.candidates = [*layers, layers[0] | {"criterion": "random", "plan_hash": "9" * 64}]
    scripted.correct = {
        one["plan_hash"]: 530 if one["criterion"] == "imprinting" else 480 for one in scripted.candidates
    }
    scripted.run()
    (device,) = client.get(f"/v1/jobs/{job['id']}/comparison").json()["devices"]
    assert device["control"] == [
        "Layer pruning by weight_l1 against random: won 0, tied 1, lost 0 of 1 target; "
        "it is not shown to choose better than random.",
        "Layer pruning by imprinting against random: won 1, tied 0, lost 0 of 1 target.",
    ]
    page = client.get(f"/jobs/{job['id']}", headers={"Accept": "text/html"}).text
    assert "Layer pruning by imprinting against random: won 1" in page


def test_several_seeds_are_compared_as_seeds(scripted: Any, submit: Any, client: Any) -> None:
    job = submit(training={"epochs": 1, "seeds": [0, 1, 2]})
    scripted.run()
    (device,) = client.get(f"/v1/jobs/{job['id']}/comparison").json()["devices"]
    duel = device["targets"][0]["duels"][0]
    assert "3 training seeds each" in duel["sentence"]
    assert duel["first"]["accuracy"]["n"] == 3 * 540
    assert "needs at least 3 seeds" not in device["summary"]
