/**
 * What the page shows. Nothing here decides; it writes what it is given into the document.
 */

import { percent, share, shown } from "./scale.js";

const NEAREST = 5;
const LISTED = 60;
const THUMB = 192;

export const $ = (id) => document.getElementById(id);

export function showModel({ classes, student, precision, size, method }, name) {
  const facts = [student, method, precision, `${classes.length} classes`, `${size} px`];
  $("model").textContent = `${name} · ${facts.join(" · ")}`;
  for (const id of ["files", "camera", "threshold", "threshold-value", "reset"]) {
    $(id).disabled = false;
  }
}

export function showCalibration({ score, threshold, acceptance }) {
  $("reset").title = `Back to ${shown(threshold)}`;
  const kept =
    acceptance === null ? "" : `, which keeps ${Math.round(1000 * acceptance) / 10} % of the known`;
  $("threshold-note").textContent =
    `A picture is unknown when its score (${score.replaceAll("_", " ")}) is below the threshold. ` +
    `Calibrated: ${shown(threshold)}${kept}.`;
}

/** The slider, its number, and both zones of the rail. */
export function showThreshold(threshold, scale) {
  const slider = $("threshold");
  slider.min = scale.low;
  slider.max = scale.high;
  slider.step = scale.step;
  slider.value = threshold;
  const said = shown(threshold);
  slider.setAttribute("aria-valuetext", said === "−∞" ? "nothing is rejected" : said);
  if (document.activeElement !== $("threshold-value")) {
    $("threshold-value").value = said === "−∞" ? "" : Number(threshold.toPrecision(6));
  }
  $("rail").style.setProperty("--threshold", share(scale, threshold));
}

/**
 * @param {{score: number, probabilities: Float32Array}} answer
 * @param {{known: boolean, best: number}} decision
 */
export function showAnswer(answer, decision, threshold, scale, classes) {
  const nearest = classes[decision.best];
  const label = $("label");
  label.textContent = decision.known ? nearest : "Unknown";
  label.dataset.state = decision.known ? "known" : "unknown";
  $("reason").textContent = decision.known
    ? `Score ${shown(answer.score)} reaches the threshold ${shown(threshold)}.`
    : `Score ${shown(answer.score)} is below the threshold ${shown(threshold)}. ` +
      `Nearest known class: ${nearest}.`;
  $("pin").hidden = false;
  $("pin").dataset.state = label.dataset.state;
  $("pin-value").textContent = shown(answer.score);
  $("rail").style.setProperty("--score", share(scale, answer.score));
  showNearest(answer.probabilities, classes);
}

export function showNoAnswer(text, reason, classes) {
  $("label").textContent = text;
  $("label").dataset.state = "none";
  $("reason").textContent = reason;
  $("pin").hidden = true;
  $("nearest").hidden = true;
  $("nearest-title").textContent = "Known classes";
  $("latency").textContent = "";
  const more = classes.length - LISTED;
  $("known").textContent =
    classes.slice(0, LISTED).join(", ") + (more > 0 ? ` and ${more} more` : "");
  $("known").hidden = false;
}

function showNearest(probabilities, classes) {
  const order = Array.from(probabilities, (p, c) => [p, c]).sort((a, b) => b[0] - a[0]);
  const rows = order.slice(0, NEAREST).map(([probability, c]) => {
    const row = document.createElement("li");
    row.style.setProperty("--share", probability);
    const name = document.createElement("span");
    name.textContent = classes[c];
    const value = document.createElement("span");
    value.textContent = percent(probability);
    row.append(name, value);
    return row;
  });
  $("nearest").replaceChildren(...rows);
  $("nearest").hidden = false;
  $("nearest-title").textContent = "Nearest known classes";
  $("known").hidden = true;
}

/** @param {number} frames 0 for a picture; for the camera, how many the medians are over */
export function showLatency(modelMs, resizeMs, frames) {
  const of = frames ? ` · median of the last ${frames} frames` : "";
  $("latency").textContent =
    `Model ${modelMs.toFixed(1)} ms · resize ${resizeMs.toFixed(1)} ms${of}`;
}

/** A picture on the stage, on white where it is transparent, as the model sees it. */
export function showPhoto(file) {
  const photo = $("photo");
  const old = photo.src;
  photo.src = URL.createObjectURL(file);
  photo.alt = file.name;
  if (old) {
    URL.revokeObjectURL(old);
  }
}

$("photo").addEventListener("load", ({ target }) => {
  target.style.setProperty("--ratio", target.naturalWidth / target.naturalHeight);
});

/** What fills the stage: "photo", "video" or "invitation". */
export function showOnStage(what) {
  for (const id of ["photo", "video", "invitation"]) {
    $(id).hidden = id !== what;
  }
}

/** A small picture that is a button; the whole list is rebuilt by no one. */
export function thumbnail(name, bitmap) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = THUMB;
  if (bitmap) {
    const scale = Math.max(THUMB / bitmap.width, THUMB / bitmap.height);
    const [width, height] = [bitmap.width * scale, bitmap.height * scale];
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.fillStyle = "white";
    context.fillRect(0, 0, THUMB, THUMB);
    context.drawImage(bitmap, (THUMB - width) / 2, (THUMB - height) / 2, width, height);
  }
  const caption = document.createElement("span");
  caption.className = "caption";
  button.append(canvas, caption);
  button.title = name;
  item.append(button);
  return item;
}

export function captionThumbnail(item, name, text, state) {
  item.dataset.state = state;
  item.querySelector(".caption").textContent = text;
  item.firstElementChild.setAttribute("aria-label", `${name}: ${text}`);
}

export function markSelected(items, selected) {
  for (const item of items) {
    item.firstElementChild.setAttribute("aria-pressed", String(item === selected));
  }
}

export function showTally(known, unknown, failed) {
  const parts = [`${known} known`, `${unknown} unknown`];
  if (failed) {
    parts.push(`${failed} unreadable`);
  }
  $("tally").textContent = parts.join(" · ");
  $("all").hidden = known + unknown + failed === 0;
}

/** For screen readers; a repeated text is not read again. */
export function announce(text) {
  $("announcer").textContent = text;
}

export function showProblem(text) {
  $("problem").textContent = text;
}
