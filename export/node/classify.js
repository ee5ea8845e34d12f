/**
 * Answer image files with an exported student.
 *
 *     node classify.js [--json] [--threshold T] [--threads N] student.onnx IMAGE|FOLDER...
 */

import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";

import { InferenceSession, Tensor } from "onnxruntime-node";

import {
  LOWEST_FLOAT32,
  checkSession,
  decide,
  readContract,
  rejectsNothing,
} from "../js/contract.js";
import { findImages, readPixels } from "./images.js";

const USAGE = "node classify.js [--json] [--threshold T] [--threads N] student.onnx IMAGE|FOLDER...";

/** One line for the user; the exit status is then 2. */
class Problem extends Error {}

function options() {
  let found;
  try {
    found = parseArgs({
      allowPositionals: true,
      options: {
        json: { type: "boolean", default: false },
        threshold: { type: "string" },
        threads: { type: "string", default: "0" },
      },
    });
  } catch (error) {
    throw new Problem(`${line(error)}; usage: ${USAGE}`);
  }
  const [model, ...images] = found.positionals;
  if (!images.length) {
    throw new Problem(`give a model and images or folders; usage: ${USAGE}`);
  }
  const threads = number("threads", found.values.threads);
  if (!Number.isInteger(threads) || threads < 0 || threads > 1024) {
    throw new Problem("--threads: give a whole number up to 1024, 0 for one per core");
  }
  const threshold =
    found.values.threshold === undefined ? null : number("threshold", found.values.threshold);
  return { model, images, threshold, threads, json: found.values.json };
}

function number(name, text) {
  const value = text === "-inf" ? -Infinity : Number(text);
  if (text.trim() === "" || Number.isNaN(value)) {
    throw new Problem(`--${name}: ${text} is not a number`);
  }
  return value;
}

async function load(path, threads) {
  let session;
  let contract;
  try {
    const file = await readFile(path);
    contract = readContract(file);
    session = await InferenceSession.create(file, {
      intraOpNumThreads: threads,
      executionProviders: ["cpu"],
      // Failures are thrown; onnxruntime would also print them.
      logSeverityLevel: 4,
    });
    checkSession(session);
  } catch (error) {
    throw new Problem(`${path}: ${line(error)}`);
  }
  return { contract, session };
}

async function classify({ contract, session }, path, threshold) {
  const start = performance.now();
  const { size, classes } = contract;
  const image = new Tensor("uint8", await readPixels(path, size), [1, size, size, 3]);
  const outputs = await session.run({ image }, ["score", "probabilities"]);
  const score = outputs.score.data[0];
  const probabilities = Array.from(outputs.probabilities.data);
  if (probabilities.length !== classes.length || !Number.isFinite(score)) {
    throw new Error("the model's answer is not what its metadata say");
  }
  const { known, best } = decide(score, probabilities, threshold);
  return {
    image: path,
    label: known ? classes[best] : null,
    known,
    score,
    threshold,
    nearest: classes[best],
    probabilities: Object.fromEntries(classes.map((name, c) => [name, probabilities[c]])),
    milliseconds: Math.round(10 * (performance.now() - start)) / 10,
  };
}

function row({ image, label, known, score, threshold, nearest, milliseconds }) {
  const decision = known ? label : `unknown (nearest ${nearest})`;
  const limit = rejectsNothing(threshold) ? "-inf" : threshold.toFixed(4);
  const sign = known ? ">=" : "<";
  return printable(
    `${image}  ${decision}  score ${score.toFixed(4)} ${sign} ${limit}  ` +
      `${milliseconds.toFixed(1)} ms`,
  );
}

function line(error) {
  return String(error?.message ?? error)
    .replace(/\s+/g, " ")
    .trim();
}

/** File and class names may hold anything, also what moves a terminal's cursor. */
function printable(text) {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "?");
}

async function main() {
  const { model, images, threshold, threads, json } = options();
  const loaded = await load(model, threads);
  const wanted = threshold ?? loaded.contract.threshold;
  const limit = Math.fround(Math.min(Math.max(wanted, LOWEST_FLOAT32), -LOWEST_FLOAT32));
  const fail = (message) => {
    process.exitCode = 1;
    console.error(printable(message));
  };
  for await (const path of findImages(images, fail)) {
    try {
      const answer = await classify(loaded, path, limit);
      console.log(json ? JSON.stringify(answer) : row(answer));
    } catch (error) {
      fail(`${path}: ${line(error)}`);
    }
  }
}

process.stdout.on("error", (error) => {
  // As in `| head`: the reader has had enough.
  process.exit(error.code === "EPIPE" ? 0 : 2);
});

try {
  await main();
} catch (error) {
  if (!(error instanceof Problem)) {
    throw error;
  }
  console.error(printable(`classify.js: ${error.message}`));
  process.exitCode = 2;
}
