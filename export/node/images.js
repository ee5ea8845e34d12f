/**
 * Image files as the student was trained to see them.
 */

import { readFile } from "node:fs/promises";

import sharp from "sharp";

import { STRIP_PIXELS, onWhite, stretch } from "../js/pixels.js";

const MAX_PIXELS = 178_000_000;

/**
 * Turned upright by the EXIF tag, laid on white, stretched to a square; colour profiles are
 * ignored, of an animation the first frame is taken.
 *
 * @param {string} path
 * @param {number} size
 * @returns {Promise<Uint8Array>} RGB bytes [size, size, 3]
 * @throws {Error} one line: no such file, not an image, or too large
 */
export async function readPixels(path, size) {
  let file;
  try {
    file = await readFile(path);
  } catch (error) {
    throw new Error(error.code === "ENOENT" ? "no such file" : `cannot be read (${error.code})`);
  }
  const { data, info } = await sharp(file, {
    failOn: "truncated",
    ignoreIcc: true,
    limitInputPixels: MAX_PIXELS,
  })
    .autoOrient()
    .toColourspace("srgb")
    .ensureAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  return stretch(info.width, info.height, size, strips(data, info.width));
}

function* strips(rgba, width) {
  const bytes = 4 * width * Math.max(1, Math.floor(STRIP_PIXELS / width));
  for (let start = 0; start < rgba.length; start += bytes) {
    const strip = rgba.subarray(start, start + bytes);
    onWhite(strip);
    yield strip;
  }
}
