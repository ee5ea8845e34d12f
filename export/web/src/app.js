/**
 * The page: pictures come in, the engine scores them once, and every decision follows the
 * threshold as it moves.
 */

import { startCamera } from "./camera.js";
import { startEngine } from "./engine.js";
import { decide } from "./js/contract.js";
import { decode } from "./pictures.js";
import { widen } from "./scale.js";
import * as view from "./view.js";

const { $ } = view;
const BESIDE = "student.onnx";
const MAX_SHOTS = 100;
const FRAMES = 15;
const STEADY_FRAMES = 5;

const engine = startEngine();
const state = {
  contract: null,
  threshold: 0,
  scale: null,
  /** Pictures: {file, item, answer} where answer is {score, probabilities, ...} or null. */
  shots: [],
  selected: null,
  /** {stop, answers: the last ones, said: last announced decision, steady} while it is on. */
  camera: null,
};

// Pictures and models are worked on one after the other, in the order they came.
let queue = Promise.resolve();
function enqueue(work) {
  queue = queue.then(work).catch((error) => view.showProblem(`${error.message}.`));
}

async function openModel(buffer, name) {
  let contract;
  try {
    contract = await engine.open(buffer);
  } catch (error) {
    if (!state.contract) {
      $("model").textContent = "No model";
    }
    throw new Error(`${name}: ${error.message}`);
  }
  state.contract = contract;
  state.threshold = contract.threshold;
  state.scale = widen(null, contract, []);
  view.showProblem("");
  view.showModel(contract, name);
  view.showCalibration(contract);
  for (const shot of state.shots) {
    await score(shot);
  }
  refresh();
}

async function openModelBeside() {
  const response = await fetch(BESIDE).catch(() => null);
  if (response?.ok) {
    await openModel(await response.arrayBuffer(), BESIDE);
  } else {
    $("model").textContent = "No model yet: open a student.onnx";
  }
}

/** Score a picture of the list again, as the model has changed. */
async function score(shot) {
  if (!shot.answer) {
    return;
  }
  try {
    shot.answer = await engine.classify(await decode(shot.file));
  } catch (error) {
    shot.answer = null;
    shot.problem = error.message;
  }
}

async function addPicture(file) {
  stopCamera();
  view.showProblem("");
  const shot = { file, item: null, answer: null, problem: null };
  let bitmap = null;
  try {
    bitmap = await decode(file);
    shot.item = view.thumbnail(file.name, bitmap);
    shot.answer = await engine.classify(bitmap);
  } catch (error) {
    bitmap?.close();
    shot.item ??= view.thumbnail(file.name, null);
    shot.problem = error.message;
    view.showProblem(`${file.name}: ${error.message}.`);
  }
  state.shots.push(shot);
  $("shots").append(shot.item);
  shot.item.firstElementChild.addEventListener("click", () => {
    stopCamera();
    select(shot);
  });
  if (state.shots.length > MAX_SHOTS) {
    state.shots.shift().item.remove();
  }
  select(shot);
}

function select(shot) {
  state.selected = shot;
  if (shot.problem) {
    view.showOnStage("invitation");
  } else {
    view.showPhoto(shot.file);
    view.showOnStage("photo");
  }
  refresh();
  view.announce(`${$("label").textContent}. ${$("reason").textContent}`);
}

function current() {
  return state.camera ? state.camera.answers.at(-1) : state.selected?.answer;
}

/** Write the state into the page. */
function refresh() {
  const { contract, threshold, shots, selected } = state;
  if (!contract) {
    return;
  }
  const answers = shots.flatMap((shot) => shot.answer ?? []);
  const now = current();
  const seen = [...answers, ...(now ? [now] : [])].map((answer) => answer.score);
  state.scale = widen(state.scale, contract, seen);
  view.showThreshold(threshold, state.scale);
  if (now) {
    view.showAnswer(now, decision(now), threshold, state.scale, contract.classes);
    showLatency();
  } else {
    const empty = !state.camera && !selected;
    view.showNoAnswer(
      state.camera ? "Looking" : empty ? "No picture yet" : "No answer",
      empty ? "The answer is one of the classes the model knows, or unknown." : "",
      contract.classes,
    );
  }
  refreshList(answers.length);
}

function refreshList(answered) {
  const { contract, shots, selected, camera } = state;
  let known = 0;
  for (const { file, item, answer } of shots) {
    if (!answer) {
      view.captionThumbnail(item, file.name, "unreadable", "failed");
      continue;
    }
    const found = decision(answer);
    known += Number(found.known);
    const nearest = contract.classes[found.best];
    const text = found.known ? nearest : "unknown";
    view.captionThumbnail(item, file.name, text, found.known ? "known" : "unknown");
    Object.assign(item.dataset, { name: file.name, score: answer.score, nearest });
  }
  view.markSelected(
    shots.map((shot) => shot.item),
    camera ? null : selected?.item,
  );
  view.showTally(known, answered - known, shots.length - answered);
}

function decision(answer) {
  return decide(answer.score, answer.probabilities, state.threshold);
}

function showLatency() {
  if (!state.camera) {
    const { modelMs, resizeMs } = state.selected.answer;
    view.showLatency(modelMs, resizeMs, 0);
    return;
  }
  const { answers } = state.camera;
  const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
  view.showLatency(
    median(answers.map((a) => a.modelMs)),
    median(answers.map((a) => a.resizeMs)),
    answers.length,
  );
}

function setThreshold(value) {
  const before = current() && decision(current()).known;
  state.threshold = value;
  refresh();
  if (current() && decision(current()).known !== before) {
    view.announce($("label").textContent);
  }
}

async function answerFrame(bitmap) {
  const answer = await engine.classify(bitmap);
  const { camera } = state;
  if (!camera) {
    return;
  }
  camera.answers = [...camera.answers.slice(1 - FRAMES), answer];
  refresh();
  // Every frame is an answer; only one that stays is worth saying.
  const said = $("label").textContent;
  camera.steady = said === camera.last ? camera.steady + 1 : 0;
  camera.last = said;
  if (camera.steady === STEADY_FRAMES) {
    view.announce(said);
  }
}

function stopCamera() {
  if (!state.camera) {
    return;
  }
  state.camera.stop();
  state.camera = null;
  $("camera").textContent = "Use the camera";
  $("camera").setAttribute("aria-pressed", "false");
  view.showOnStage(state.selected && !state.selected.problem ? "photo" : "invitation");
  refresh();
}

async function toggleCamera() {
  if (state.camera) {
    stopCamera();
    return;
  }
  view.showProblem("");
  const camera = { stop: () => {}, answers: [], last: "", steady: 0 };
  state.camera = camera;
  $("camera").textContent = "Stop the camera";
  $("camera").setAttribute("aria-pressed", "true");
  view.showOnStage("video");
  refresh();
  try {
    const stop = await startCamera($("video"), answerFrame, (error) => {
      view.showProblem(`The camera's picture has no answer: ${error.message}.`);
    });
    camera.stop = stop;
    // It may have been turned off again while the user was asked for permission.
    if (state.camera !== camera) {
      stop();
    }
  } catch (error) {
    stopCamera();
    view.showProblem(`The camera cannot be used: ${error.message}.`);
  }
}

function addFiles(files) {
  for (const file of files) {
    if (file.name.toLowerCase().endsWith(".onnx")) {
      enqueue(async () => openModel(await file.arrayBuffer(), file.name));
    } else if (state.contract) {
      enqueue(() => addPicture(file));
    } else {
      view.showProblem("Open a model first.");
    }
  }
}

$("model-file").addEventListener("change", ({ target }) => {
  addFiles(target.files);
  target.value = "";
});
$("files").addEventListener("change", ({ target }) => {
  addFiles(target.files);
  target.value = "";
});
$("camera").addEventListener("click", toggleCamera);
$("threshold").addEventListener("input", ({ target }) => setThreshold(Number(target.value)));
$("threshold-value").addEventListener("input", ({ target }) => {
  if (Number.isFinite(target.valueAsNumber)) {
    setThreshold(target.valueAsNumber);
  }
});
$("threshold-value").addEventListener("blur", refresh);
$("reset").addEventListener("click", () => setThreshold(state.contract.threshold));
$("clear").addEventListener("click", () => {
  $("shots").replaceChildren();
  state.shots = [];
  state.selected = null;
  if (!state.camera) {
    view.showOnStage("invitation");
  }
  refresh();
  $("files").focus();
});

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("stage").classList.add("over");
});
document.addEventListener("dragleave", () => $("stage").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("stage").classList.remove("over");
  addFiles(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => addFiles(event.clipboardData.files));
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    stopCamera();
  }
});

enqueue(openModelBeside);
