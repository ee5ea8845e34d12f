// FOLDER SIZES: resizes FOLDER/WxH.rgba, given in two strips, to FOLDER/WxH.rgb by the resize rule.
import { readFileSync, writeFileSync } from "node:fs";
import { stretch } from "../../../export/js/pixels.js";

const [folder, sizes] = process.argv.slice(2);
for (const [width, height, size] of JSON.parse(sizes)) {
  const name = `${folder}/${width}x${height}`;
  const rgba = readFileSync(`${name}.rgba`);
  const cut = 4 * width * Math.floor(height / 3);
  const strips = [rgba.subarray(0, cut), rgba.subarray(cut)];
  writeFileSync(`${name}.rgb`, stretch(width, height, size, strips));
}
