/**
 * Puts everything the page needs into dist/, which any static web server can serve:
 *
 *     npm run build                      # the page; it asks for a model
 *     npm run build -- STUDENT.onnx      # with a model beside it, opened when the page opens
 */

import { cp, copyFile, mkdir, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");
const [model] = process.argv.slice(2);

const runtime = dirname(createRequire(import.meta.url).resolve("onnxruntime-web/wasm"));
// One file of JavaScript and the WebAssembly it loads; the other builds are for WebGPU and WebGL.
const runtimeFiles = {
  "ort.wasm.bundle.min.mjs": "ort.js",
  "ort-wasm-simd-threaded.wasm": "ort.wasm",
};

await rm(dist, { recursive: true, force: true });
await cp(join(here, "src"), dist, { recursive: true });
for (const folder of ["js", "ort"]) {
  await mkdir(join(dist, folder));
}
for (const name of ["contract.js", "metadata.js", "pixels.js", "seal.js"]) {
  await copyFile(join(here, "..", "js", name), join(dist, "js", name));
}
for (const [from, to] of Object.entries(runtimeFiles)) {
  await copyFile(join(runtime, from), join(dist, "ort", to));
}
if (model) {
  await copyFile(resolve(model), join(dist, "student.onnx"));
}
console.log(`dist/ is ready${model ? ` with ${model}` : ""}; serve it, for example:`);
console.log("  python3 -m http.server --bind 127.0.0.1 --directory dist 8000");
