// Sends the form as the JSON that POST /v1/jobs takes, and shows the server's own sentence when it refuses.
"use strict";

const form = document.getElementById("new-job");

function request(fields) {
  const ratios = fields.get("ratios").split(/[\s,;]+/).filter(Boolean).map(Number);
  return {
    model: { name: fields.get("model") },
    dataset: { name: fields.get("dataset") },
    pruning: { methods: fields.getAll("methods"), criteria: fields.getAll("criteria"), targets: { latency_ratios: ratios } },
    training: { epochs: Number(fields.get("epochs")) },
    measure: { devices: fields.getAll("devices"), backends: fields.getAll("backends") },
  };
}

async function submit(event) {
  event.preventDefault();
  const problem = document.getElementById("problem");
  const response = await fetch("/v1/jobs", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(request(new FormData(form))),
  });
  const answer = await response.json();
  if (response.ok) {
    location.assign(`/jobs/${answer.id}`);
    return;
  }
  problem.textContent = `${answer.error.message}. ${answer.error.remedy}`;
  problem.hidden = false;
}

if (form) form.addEventListener("submit", submit);
