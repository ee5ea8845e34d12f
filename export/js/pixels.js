/**
 * The resize rule "pillow-bilinear-stretch/1": what a student sees of a picture.
 *
 * The whole picture is stretched to size x size with an antialiased triangle filter, to its new
 * width first and to its new height second, each pass in 8-bit values with weights of 22 fractional
 * bits. This is the arithmetic of Pillow's `Image.resize` with `Image.Resampling.BILINEAR`, so both
 * give the same bytes for the same pixels. A browser's canvas scales differently from that, and
 * from one browser to the next.
 */

export const RESIZE_RULE = "pillow-bilinear-stretch/1";
export const STRIP_PIXELS = 2 ** 20;

const FRACTION_BITS = 22;
const HALF = 2 ** (FRACTION_BITS - 1);
/** Largest picture between the two passes, as in training. */
const MAX_PIXELS = 178_000_000;

/**
 * The weights of the input positions that make each output position of one axis.
 *
 * @param {number} from input positions
 * @param {number} to output positions
 * @returns {{first: Int32Array, count: Int32Array, stride: number, values: Int32Array}} output i
 *   is the sum over j < count[i] of values[i * stride + j] * input[first[i] + j], with weights in
 *   units of 2^-22.
 */
export function axisWeights(from, to) {
  const scale = from / to;
  const radius = Math.max(scale, 1);
  const stride = Math.ceil(radius) * 2 + 1;
  const first = new Int32Array(to);
  const count = new Int32Array(to);
  const values = new Int32Array(to * stride);
  const raw = new Float64Array(stride);
  const perInput = 1 / radius;
  for (let i = 0; i < to; i += 1) {
    const centre = (i + 0.5) * scale;
    const low = Math.max(0, Math.trunc(centre - radius + 0.5));
    const high = Math.min(from, Math.trunc(centre + radius + 0.5));
    let sum = 0;
    for (let j = 0; j < high - low; j += 1) {
      const distance = Math.abs((j + low - centre + 0.5) * perInput);
      raw[j] = distance < 1 ? 1 - distance : 0;
      sum += raw[j];
    }
    for (let j = 0; j < high - low; j += 1) {
      values[i * stride + j] = Math.trunc(0.5 + (raw[j] / sum) * 2 ** FRACTION_BITS);
    }
    first[i] = low;
    count[i] = high - low;
  }
  return { first, count, stride, values };
}

/**
 * Stretch a picture that arrives in strips of whole rows, so that a large one is never held twice.
 *
 * @param {number} width of the picture
 * @param {number} height of the picture
 * @param {number} size side of the result
 * @param {Iterable<ArrayLike<number>>} strips RGBA bytes, top to bottom; alpha is not looked at
 * @returns {Uint8Array} RGB bytes [size, size, 3]
 * @throws {Error} one line: too tall, or strips of other sizes
 */
export function stretch(width, height, size, strips) {
  if (height * size > MAX_PIXELS) {
    throw new Error(`${width} x ${height} is too tall to be resized to ${size} px`);
  }
  const narrow = new Uint8Array(height * size * 3);
  const columns = axisWeights(width, size);
  let row = 0;
  for (const strip of strips) {
    const rows = strip.length / (4 * width);
    if (!Number.isInteger(rows) || row + rows > height) {
      throw new Error(`a strip of ${strip.length} bytes does not fit ${width} x ${height} pixels`);
    }
    narrowRows(strip, width, rows, columns, size, narrow.subarray(row * size * 3));
    row += rows;
  }
  if (row !== height) {
    throw new Error(`${row} of ${height} rows came`);
  }
  return shortenColumns(narrow, axisWeights(height, size), size);
}

/**
 * Composite on white, in place, with the rounding of Pillow's `Image.alpha_composite`.
 *
 * @param {Uint8Array | Uint8ClampedArray} rgba bytes, colours not premultiplied; become opaque
 */
export function onWhite(rgba) {
  for (let at = 0; at < rgba.length; at += 4) {
    const alpha = rgba[at + 3];
    if (alpha === 255) {
      continue;
    }
    // On an opaque ground the blend's total weight is 255 * 255, so the share is alpha in 7 bits.
    const share = alpha * 128;
    for (let c = at; c < at + 3; c += 1) {
      const value = rgba[c] * share + 255 * (255 * 128 - share) + (128 << 7);
      rgba[c] = ((value >> 8) + value) >> 8 >> 7;
    }
    rgba[at + 3] = 255;
  }
}

function narrowRows(strip, width, rows, { first, count, stride, values }, size, out) {
  for (let y = 0; y < rows; y += 1) {
    for (let x = 0; x < size; x += 1) {
      let at = (y * width + first[x]) * 4;
      let red = HALF;
      let green = HALF;
      let blue = HALF;
      const end = x * stride + count[x];
      for (let k = x * stride; k < end; k += 1, at += 4) {
        const weight = values[k];
        red += strip[at] * weight;
        green += strip[at + 1] * weight;
        blue += strip[at + 2] * weight;
      }
      const to = (y * size + x) * 3;
      out[to] = toByte(red);
      out[to + 1] = toByte(green);
      out[to + 2] = toByte(blue);
    }
  }
}

function shortenColumns(narrow, { first, count, stride, values }, size) {
  const line = size * 3;
  const out = new Uint8Array(size * line);
  for (let y = 0; y < size; y += 1) {
    for (let x = 0; x < line; x += 1) {
      let sum = HALF;
      for (let j = 0; j < count[y]; j += 1) {
        sum += narrow[(first[y] + j) * line + x] * values[y * stride + j];
      }
      out[y * line + x] = toByte(sum);
    }
  }
  return out;
}

/** Rounded weights of one output position sum to 2^22 but for a few units: no clamp is needed. */
function toByte(sum) {
  return sum >> FRACTION_BITS;
}
