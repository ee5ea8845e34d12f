/**
 * The model, which runs in a worker so that the page never stops answering.
 */

/**
 * @returns {{
 *   open: (file: ArrayBuffer) => Promise<import("./js/contract.js").Contract>,
 *   classify: (bitmap: ImageBitmap) => Promise<{score: number, probabilities: Float32Array,
 *     resizeMs: number, modelMs: number}>,
 * }} open takes the buffer, classify the bitmap: neither can be used afterwards. Both reject with
 *   one line that says why.
 */
export function startEngine() {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  const waiting = new Map();
  let last = 0;
  // A worker that could not be loaded answers nothing, ever.
  let failed = null;

  worker.addEventListener("message", ({ data }) => {
    const { resolve, reject } = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.error === undefined) {
      resolve(data.result);
    } else {
      reject(new Error(data.error));
    }
  });
  worker.addEventListener("error", (event) => {
    failed = new Error(`the worker failed: ${event.message || "it cannot be loaded"}`);
    for (const { reject } of waiting.values()) {
      reject(failed);
    }
    waiting.clear();
  });

  function ask(what, payload) {
    if (failed) {
      return Promise.reject(failed);
    }
    last += 1;
    const id = last;
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      worker.postMessage({ id, what, payload }, [payload]);
    });
  }

  return {
    open: (file) => ask("open", file),
    classify: (bitmap) => ask("classify", bitmap),
  };
}
