/**
 * What a TIFF says of its pixels and sharp does not.
 */

const BITS_PER_SAMPLE = 258;
const EXTRA_SAMPLES = 338;
const SHORT = 3;
const BITS = [1, 2, 4, 8, 16, 32, 64];

/**
 * @param {Buffer} file
 * @returns {{extraIsAlpha: boolean}} false where the sample behind the colours has no stated meaning
 * @throws {Error} one line: samples of a size that sharp does not decode
 */
export function checkTiff(file) {
  const [bits = 1] = shorts(file, BITS_PER_SAMPLE);
  if (!BITS.includes(bits)) {
    throw new Error(`a TIFF of ${bits} bits per sample; convert it to 8 or 16 bits`);
  }
  return { extraIsAlpha: !shorts(file, EXTRA_SAMPLES).includes(0) };
}

/** Values of a tag of the first picture; none where it, or a sound directory, is missing. */
function shorts(file, tag) {
  const little = file[0] === 0x49;
  const two = (at) => (little ? file.readUInt16LE(at) : file.readUInt16BE(at));
  const four = (at) => (little ? file.readUInt32LE(at) : file.readUInt32BE(at));
  try {
    const directory = four(4);
    for (let k = 0; k < two(directory); k += 1) {
      const entry = directory + 2 + 12 * k;
      if (two(entry) === tag && two(entry + 2) === SHORT) {
        const count = Math.min(four(entry + 4), 16);
        const start = count > 2 ? four(entry + 8) : entry + 8;
        return Array.from({ length: count }, (_, j) => two(start + 2 * j));
      }
    }
  } catch (error) {
    if (!(error instanceof RangeError)) {
      throw error;
    }
  }
  return [];
}
