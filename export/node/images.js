/**
 * Image files as the student was trained to see them.
 */

import { readFile, readdir, stat } from "node:fs/promises";
import { extname, join } from "node:path";

import sharp from "sharp";

import { STRIP_PIXELS, onWhite, stretch } from "../js/pixels.js";

const MAX_PIXELS = 178_000_000;
// What sharp decodes; a file given by name may have any other.
const SUFFIXES = new Set(
  ".avif .gif .jfif .jpe .jpeg .jpg .png .tif .tiff .webp".split(" "),
);

/**
 * Files as they are, folders as their images at any depth, sorted at every level. Hidden entries and
 * links to folders are left out; other files that are left out are counted in one line.
 *
 * @param {string[]} sources
 * @param {(message: string) => void} fail called with a line on every folder without an answer
 * @returns {AsyncGenerator<string>} paths
 */
export async function* findImages(sources, fail) {
  for (const source of sources) {
    const status = await stat(source).catch(() => null);
    if (!status?.isDirectory()) {
      yield source;
      continue;
    }
    const counts = { images: 0, others: 0, denied: 0 };
    yield* imagesBelow(source, counts, fail);
    if (!counts.images && !counts.denied) {
      fail(`${source}: no image files in this folder`);
    } else if (counts.others) {
      console.error(`${source}: left out ${counts.others} other files`);
    }
  }
}

async function* imagesBelow(folder, counts, fail) {
  let entries;
  try {
    entries = await readdir(folder, { withFileTypes: true });
  } catch (error) {
    counts.denied += 1;
    fail(`${folder}: cannot be read (${error.code})`);
    return;
  }
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries.filter(({ name }) => !name.startsWith("."))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      yield* imagesBelow(path, counts, fail);
    } else if (SUFFIXES.has(extname(entry.name).toLowerCase())) {
      counts.images += 1;
      yield path;
    } else {
      counts.others += 1;
    }
  }
}

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
