/**
 * What an EdgeDistill model says about itself, and how its outputs become an answer.
 */

import { readMetadata } from "./metadata.js";
import { RESIZE_RULE } from "./pixels.js";
import { intact } from "./seal.js";

const PREFIX = "edgedistill.";
const CONTRACT = "1";
const MAX_SIZE = 4096;
// A threshold of minus infinity, at which nothing is rejected, is stored as this number.
export const LOWEST_FLOAT32 = -3.4028234663852886e38;

/**
 * @typedef {object} Contract
 * @property {string[]} classes names of the known classes, in the order of `probabilities`
 * @property {string} score name of the openness score; higher = more known
 * @property {number} threshold calibrated: an image scoring below it is unknown
 * @property {number | null} acceptance share of known images that the calibration keeps
 * @property {number} size side of the input in pixels
 * @property {string} student
 * @property {string} method
 * @property {string} precision "fp32" or "int8"
 * @property {string} version of EdgeDistill that wrote the file
 */

/**
 * @param {Uint8Array} file an ONNX file
 * @returns {Contract}
 * @throws {Error} one line: no ONNX file, none of EdgeDistill's, or of another version
 */
export function readContract(file) {
  const metadata = readMetadata(file);
  if (!metadata.has(`${PREFIX}contract`)) {
    throw new Error("an ONNX file, but not one that EdgeDistill exported: it has no contract");
  }
  const read = (key) => metadata.get(PREFIX + key)?.text ?? fail(key, "is missing");
  if (read("contract") !== CONTRACT) {
    throw new Error(
      `made for version ${oneLine(read("contract"))} of the contract, and this program knows ` +
        `version ${CONTRACT}: use the one that came with the exporter`,
    );
  }
  read("crc32");
  if (!intact(file, metadata.get(`${PREFIX}crc32`))) {
    throw new Error("damaged or changed since it was exported: copy or export it again");
  }
  const classes = readJson(read("classes"), "classes");
  if (!Array.isArray(classes) || !classes.length || classes.some((c) => typeof c !== "string")) {
    fail("classes", "is not a list of names");
  }
  const threshold = readJson(read("threshold"), "threshold");
  if (!Number.isFinite(threshold?.value)) {
    fail("threshold", "has no number");
  }
  const input = readJson(read("input"), "input");
  if (!Number.isInteger(input?.size) || input.size < 1 || input.size > MAX_SIZE) {
    fail("input", `has no size between 1 and ${MAX_SIZE}`);
  }
  if (input.resize !== RESIZE_RULE) {
    fail("input", `asks for another resize rule than ${RESIZE_RULE}`);
  }
  return {
    classes,
    score: read("score"),
    threshold: Math.fround(threshold.value),
    acceptance: Number.isFinite(threshold.acceptance) ? threshold.acceptance : null,
    size: input.size,
    student: read("student"),
    method: read("method"),
    precision: read("precision"),
    version: read("version"),
  };
}

/**
 * The answer to one image. It equals the model's own `label` at the same threshold; deciding here
 * lets the threshold move without running the model again.
 *
 * @param {number} score
 * @param {ArrayLike<number>} probabilities of the known classes
 * @param {number} threshold
 * @returns {{known: boolean, best: number}} best is the most probable known class, whether or not
 *   the image is known
 */
export function decide(score, probabilities, threshold) {
  let best = 0;
  for (let c = 1; c < probabilities.length; c += 1) {
    if (probabilities[c] > probabilities[best]) {
      best = c;
    }
  }
  // A score that is not a number is no evidence of a known class: the comparison is then false.
  return { known: score >= Math.fround(threshold), best };
}

/** Whether a threshold is the one that rejects nothing. */
export function rejectsNothing(threshold) {
  return Math.fround(threshold) <= LOWEST_FLOAT32;
}

/**
 * @param {{inputNames: readonly string[], outputNames: readonly string[]}} session
 * @throws {Error} one line, when its inputs and outputs are not those of the contract
 */
export function checkSession(session) {
  const wrong =
    !session.inputNames.includes("image") ||
    session.inputNames.some((name) => name !== "image" && name !== "threshold") ||
    ["label", "score", "probabilities"].some((name) => !session.outputNames.includes(name));
  if (wrong) {
    throw new Error("its inputs and outputs are not those of the contract");
  }
}

function readJson(value, key) {
  try {
    return JSON.parse(value);
  } catch {
    return fail(key, "is not JSON");
  }
}

function fail(key, what) {
  throw new Error(`the model's metadata is broken: ${PREFIX}${key} ${what}`);
}

function oneLine(value) {
  return JSON.stringify(value.slice(0, 20));
}
