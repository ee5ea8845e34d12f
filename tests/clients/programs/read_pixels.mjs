// SIZE FILE...: prints the pixels of images as base64, read by images.js of the current folder.
import { pathToFileURL } from "node:url";

const { readPixels } = await import(pathToFileURL("images.js"));
const [size, ...paths] = process.argv.slice(2);
for (const path of paths) {
  console.log(Buffer.from(await readPixels(path, Number(size))).toString("base64"));
}
