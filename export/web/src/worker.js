/**
 * Resizes pictures and runs the model, away from the page's own thread.
 */

import * as ort from "./ort/ort.js";
import { checkSession, readContract } from "./js/contract.js";
import { stretch } from "./js/pixels.js";
import { strips } from "./pictures.js";

ort.env.wasm.wasmPaths = { wasm: new URL("./ort/ort.wasm", import.meta.url).href };
// Threads need a page that its server isolates from other origins.
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
ort.env.logLevel = "fatal";

const handlers = { open, classify };
let model = null;

// One message at a time: a session does not run twice at once.
let queue = Promise.resolve();
self.addEventListener("message", ({ data }) => {
  queue = queue.then(() => answer(data));
});

async function answer({ id, what, payload }) {
  try {
    self.postMessage({ id, result: await handlers[what](payload) });
  } catch (error) {
    const line = String(error?.message ?? error).replace(/\s+/g, " ");
    self.postMessage({ id, error: line.slice(0, 300) });
  }
}

async function open(file) {
  const bytes = new Uint8Array(file);
  const contract = readContract(bytes);
  const session = await ort.InferenceSession.create(bytes, {
    executionProviders: ["wasm"],
    // Failures are thrown; onnxruntime would also print them.
    logSeverityLevel: 4,
  });
  try {
    checkSession(session);
    // A first run compiles and allocates; it also shows whether the outputs fit the metadata.
    await run({ session, contract }, new Uint8Array(contract.size ** 2 * 3));
  } catch (error) {
    await session.release();
    throw error;
  }
  await model?.session.release();
  model = { session, contract };
  return contract;
}

async function classify(bitmap) {
  const start = performance.now();
  let image;
  try {
    image = stretch(bitmap.width, bitmap.height, model.contract.size, strips(bitmap));
  } finally {
    bitmap.close();
  }
  const resized = performance.now();
  const outputs = await run(model, image);
  const end = performance.now();
  return { ...outputs, resizeMs: resized - start, modelMs: end - resized };
}

async function run({ session, contract }, image) {
  const { size, classes } = contract;
  const feed = { image: new ort.Tensor("uint8", image, [1, size, size, 3]) };
  const outputs = await session.run(feed, ["score", "probabilities"]);
  const score = outputs.score.data[0];
  const probabilities = outputs.probabilities.data;
  if (probabilities.length !== classes.length || !Number.isFinite(score)) {
    throw new Error("the model's answer is not what its metadata say");
  }
  return { score, probabilities: Float32Array.from(probabilities) };
}
