/**
 * Files and camera frames as pixels.
 */

import { STRIP_PIXELS } from "./js/pixels.js";

const MAX_PIXELS = 100_000_000;

/**
 * Decode an image file: upright by its EXIF tag, its colour profile ignored, as in training.
 *
 * @param {Blob} file
 * @returns {Promise<ImageBitmap>}
 * @throws {Error} one line: not an image, or too large to decode
 */
export async function decode(file) {
  const { width, height } = await measure(file);
  if (width * height > MAX_PIXELS) {
    throw new Error(`${width} x ${height} pixels are too many for a browser`);
  }
  try {
    return await createImageBitmap(file, {
      imageOrientation: "from-image",
      premultiplyAlpha: "none",
      colorSpaceConversion: "none",
    });
  } catch {
    throw new Error("it cannot be decoded");
  }
}

/**
 * The pixels on white, in strips of whole rows: a browser's canvas has a largest size, and a
 * phone's photo may be over it.
 *
 * @param {ImageBitmap} bitmap
 * @returns {Generator<Uint8ClampedArray>} RGBA bytes, opaque, top to bottom
 */
export function* strips(bitmap) {
  const { width, height } = bitmap;
  const rows = Math.min(height, Math.max(1, Math.floor(STRIP_PIXELS / width)));
  const canvas = new OffscreenCanvas(width, rows);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.fillStyle = "white";
  for (let top = 0; top < height; top += rows) {
    const count = Math.min(rows, height - top);
    context.fillRect(0, 0, width, count);
    context.drawImage(bitmap, 0, top, width, count, 0, 0, width, count);
    yield context.getImageData(0, 0, width, count).data;
  }
}

/** The size an image says it has. Browsers read the header alone until the pixels are needed. */
async function measure(file) {
  const url = URL.createObjectURL(file);
  try {
    const image = new Image();
    await new Promise((resolve, reject) => {
      image.addEventListener("load", resolve);
      image.addEventListener("error", () => reject(new Error("it is not an image")));
      image.src = url;
    });
    return { width: image.naturalWidth, height: image.naturalHeight };
  } finally {
    URL.revokeObjectURL(url);
  }
}
