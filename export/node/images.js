/**
 * Image files as the student was trained to see them.
 */

import { readFile, readdir, stat } from "node:fs/promises";
import { extname, join } from "node:path";

import sharp from "sharp";

import { STRIP_PIXELS, onWhite, stretch } from "../js/pixels.js";
import { withoutDamagedExtras } from "./png.js";
import { checkTiff } from "./tiff.js";

const MAX_PIXELS = 178_000_000;
/** Place of the byte that tells gray (0) from gray with alpha (4) and colours. */
const PNG_COLOR_TYPE = 25;
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
 * @throws {Error} one line: no such file, not an image, too large, or pixels of another type than
 *   training knows
 */
export async function readPixels(path, size) {
  let file;
  try {
    file = await readFile(path);
  } catch (error) {
    throw new Error(error.code === "ENOENT" ? "no such file" : `cannot be read (${error.code})`);
  }
  try {
    const { rgba, width, height } = await decode(withoutDamagedExtras(file));
    return stretch(width, height, size, strips(rgba, width));
  } catch (error) {
    // libvips says the same of every part of a picture that it cannot decode.
    const lines = String(error.message).split("\n").map((part) => part.trim());
    throw new Error([...new Set(lines.filter(Boolean))].join(" "));
  }
}

async function decode(file) {
  const options = { failOn: "truncated", ignoreIcc: true, limitInputPixels: MAX_PIXELS };
  const { format, space, depth, channels } = await sharp(file, options)
    .metadata()
    .catch((error) => {
      checkTiff(file);
      throw error;
    });
  const image = sharp(file, {
    ...options,
    // Of a TIFF that it cannot decompress, libvips makes a black picture otherwise.
    failOn: format === "tiff" ? "error" : "truncated",
  }).autoOrient();
  const extraIsAlpha = format !== "tiff" || checkTiff(file).extraIsAlpha;
  if (depth !== "uchar" && depth !== "ushort") {
    throw new Error(`pixels of type ${depth} have no agreed range; convert it to 8 or 16 bits`);
  }
  if (space === "cmyk") {
    return fromSamples(image, space, depth, cmykToRgba);
  }
  // Gray of 16 bits is rounded to 8, beside an alpha channel it is cut, as in training.
  const ofPng = format === "png" && file[PNG_COLOR_TYPE] === 0;
  if (space === "grey16" && (channels === 1 || ofPng || !extraIsAlpha)) {
    return fromSamples(image, space, depth, (samples, bands) => {
      return grayToRgba(samples, bands, extraIsAlpha);
    });
  }
  const colours = image.toColourspace("srgb");
  const { data, info } = await (extraIsAlpha ? colours : colours.removeAlpha())
    .ensureAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  return { rgba: data, width: info.width, height: info.height };
}

/** RGBA that `convert` makes of the file's own samples, which sharp would convert otherwise. */
async function fromSamples(image, space, depth, convert) {
  const { data, info } = await image
    .pipelineColourspace(space)
    .toColourspace(space)
    .raw({ depth })
    .toBuffer({ resolveWithObject: true });
  const samples =
    depth === "ushort" ? new Uint16Array(data.buffer, data.byteOffset, data.length / 2) : data;
  return { rgba: convert(samples, info.channels), width: info.width, height: info.height };
}

function grayToRgba(samples, bands, withAlpha) {
  const rgba = new Uint8Array((4 * samples.length) / bands);
  for (let from = 0, to = 0; to < rgba.length; from += bands, to += 4) {
    rgba.fill(Math.floor((samples[from] * 255 + 32767) / 65535), to, to + 3);
    rgba[to + 3] = withAlpha && bands > 1 ? samples[from + 1] >> 8 : 255;
  }
  return rgba;
}

/** Ink taken from white without a colour profile, with the rounding of Pillow. */
function cmykToRgba(samples, bands) {
  const shift = samples.BYTES_PER_ELEMENT === 2 ? 8 : 0;
  const rgba = new Uint8Array((4 * samples.length) / bands).fill(255);
  for (let from = 0, to = 0; to < rgba.length; from += bands, to += 4) {
    const light = 255 - (samples[from + 3] >> shift);
    for (let c = 0; c < 3; c += 1) {
      const product = (samples[from + c] >> shift) * light + 128;
      rgba[to + c] = light - (((product >> 8) + product) >> 8);
    }
  }
  return rgba;
}

function* strips(rgba, width) {
  const bytes = 4 * width * Math.max(1, Math.floor(STRIP_PIXELS / width));
  for (let start = 0; start < rgba.length; start += bytes) {
    const strip = rgba.subarray(start, start + bytes);
    onWhite(strip);
    yield strip;
  }
}
